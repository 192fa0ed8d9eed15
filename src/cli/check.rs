//! `orderd check`: would a worker with this configuration work here?
//!
//! Owns: what is looked at, and how the operator is told: everything in one run.
//! Never: a change, neither here nor in Redis.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::findings::{self, Finding, Level};
use super::{Cli, print};
use crate::broker::Broker;
use crate::settings::{self, ConfigErrors, HandlerKind, Settings};

/// What `orderd check` is asked for.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Check the configuration alone, and connect to nothing
    #[arg(long)]
    pub offline: bool,
    /// Print the configuration that is in force as TOML, and connect to nothing: every key, and what set it. Secrets are redacted
    #[arg(long, conflicts_with = "json")]
    pub print: bool,
    /// Print JSON: one object with every finding
    #[arg(long)]
    pub json: bool,
}

/// Checks what `check` asks for. What is wrong with the configuration comes back as the error.
pub(super) fn run(cli: &Cli, check: &Check) -> anyhow::Result<Exit> {
    let settings = match cli.settings() {
        Err(errors) if check.json => return report_json(&mistakes(&errors)),
        settings => settings?,
    };
    if check.print {
        print(&settings::effective(&settings))?;
        return Ok(Exit::Success);
    }
    let mut findings = vec![Finding::ok("configuration", summary(&settings))];
    if !check.offline {
        findings.extend(super::with_broker(&settings, async |broker| Ok(look(&settings, broker).await))?);
        // Afterwards: a ledger on Postgres has a runtime of its own, and there is one at a time on a thread.
        if settings.handler == HandlerKind::Ledger {
            findings.push(findings::of_ledger(&settings.ledger));
        }
    }
    if check.json { report_json(&findings) } else { report(&findings) }
}

fn summary(settings: &Settings) -> String {
    format!("{} reads {} as {} from {}", settings.instance, settings.stream.key, settings.stream.group, settings.redis)
}

/// Everything that can be seen of Redis. Without a connection, what hangs on one is left out.
async fn look(settings: &Settings, broker: &Broker) -> Vec<Finding> {
    let mut found = Vec::new();
    match broker.ping().await {
        Err(error) => found.push(findings::of_error("redis", &error)),
        Ok(()) => {
            found.push(findings::of_server(&settings.redis, broker.server_kind().await));
            found.extend(findings::of_stream(settings, broker.place().await, broker.survey().await));
            // Any user will do for the question: the rights are for all of them.
            let channel = settings.notify.enabled.then(|| settings.notify.form.channel.fill(|_| "x"));
            found.extend(findings::of_rights(broker.rights(channel.as_deref()).await));
            found.extend(findings::of_keeping(broker.keeping().await));
        }
    }
    found
}

fn mistakes(errors: &ConfigErrors) -> Vec<Finding> {
    let finding = |mistake: &settings::Mistake| {
        let allowed = mistake.allowed.as_ref().map_or_else(String::new, |allowed| format!("; allowed: {allowed}"));
        let text = format!("{}: {}{allowed} ({})", mistake.subject, mistake.problem, mistake.origin);
        Finding::error("configuration", text, Exit::Config)
    };
    errors.mistakes().iter().map(finding).collect()
}

fn report(findings: &[Finding]) -> anyhow::Result<Exit> {
    let line = |finding: &Finding| format!("{:<8} {:<14} {}\n", finding.level.as_str(), finding.subject, finding.text);
    print(&findings.iter().map(line).collect::<String>())?;
    Ok(exit(findings))
}

fn report_json(findings: &[Finding]) -> anyhow::Result<Exit> {
    let exit = exit(findings);
    let listed: Vec<_> = findings
        .iter()
        .map(|finding| json!({"level": finding.level.as_str(), "subject": finding.subject, "text": finding.text}))
        .collect();
    print(&format!("{}\n", json!({"exit_code": exit.code(), "findings": listed})))?;
    Ok(exit)
}

/// Of several errors, the one with the highest code: a wrong configuration before a missing right, and that before what may pass by itself.
fn exit(findings: &[Finding]) -> Exit {
    let errors = findings.iter().filter_map(|finding| match finding.level {
        Level::Error(exit) => Some(exit),
        Level::Ok | Level::Warning => None,
    });
    errors.max_by_key(|exit| exit.code()).unwrap_or(Exit::Success)
}
