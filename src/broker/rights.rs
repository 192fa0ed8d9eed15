//! The rights that orderd needs in Redis.
//!
//! Owns: the table of every command that it sends, with the keys it touches and the reason; the ACL rules that follow from it; asking
//! the server which of the rights are missing.
//! Never: a command carried out to see whether it is allowed (`ACL DRYRUN` asks without doing).

use redis::{Cmd, Value};

use super::Broker;
use super::error::{BrokerError, Trouble};
use super::keys::Keys;

/// A command that a worker sends, by itself or in a script, and what it needs the command for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// As an ACL rule names it: `xack`, `client|id`.
    pub command: &'static str,
    /// What for.
    pub why: &'static str,
    /// Whether a worker cannot do its work without it.
    pub essential: bool,
    /// Calls as a worker makes them, one for each set of keys. A word in `<>` stands for a name of the configuration.
    calls: &'static [&'static [&'static str]],
}

/// What the server says of the rights of the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// It was asked.
    Known {
        /// The user that the login is for.
        user: String,
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// It cannot be asked.
    Unknown {
        /// Why not.
        why: &'static str,
    },
}

/// A right that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The right.
    pub right: Right,
    /// The keys and channels that the command would touch in this call; none for a command without any.
    pub keys: Vec<String>,
}

const fn needed(command: &'static str, why: &'static str, calls: &'static [&'static [&'static str]]) -> Right {
    Right { command, why, essential: true, calls }
}

const fn useful(command: &'static str, why: &'static str, calls: &'static [&'static [&'static str]]) -> Right {
    Right { command, why, essential: false, calls }
}

/// Every command that a worker sends. `AUTH` is always allowed, and `SELECT` is sent only where the address names a database.
pub const WORKER: &[Right] = &[
    needed("xreadgroup", "reading", &[&["GROUP", "<group>", "c", "STREAMS", "<stream>", ">"]]),
    needed("xack", "acknowledging", &[&["<stream>", "<group>", "1-1"]]),
    needed("xpending", "whose an entry is, and how often it was delivered", &[&["<stream>", "<group>"]]),
    needed("xclaim", "renewing leases, counting tries, handing back", &[&["<stream>", "<group>", "c", "0", "1-1"]]),
    needed("xautoclaim", "taking over from dead workers", &[&["<stream>", "<group>", "c", "1", "0-0"]]),
    needed("xrange", "the content of what was taken over; ages", &[&["<stream>", "-", "+"], &["<dead>", "-", "+"]]),
    needed("xrevrange", "the watermark", &[&["<stream>", "+", "-"]]),
    needed("xlen", "the backlog and the dead letters, counted", &[&["<stream>"], &["<dead>"]]),
    needed("xtrim", "trimming what every group has acknowledged", &[&["<stream>", "MAXLEN", "=", "1"]]),
    needed("xadd", "adding dead letters", &[&["<dead>", "*", "f", "v"]]),
    needed("xinfo|groups", "lag and pending of each group", &[&["GROUPS", "<stream>"]]),
    needed("xinfo|stream", "the last id of the stream", &[&["STREAM", "<stream>"]]),
    needed("xinfo|consumers", "consumers that are gone", &[&["CONSUMERS", "<stream>", "<group>"]]),
    needed("xgroup|create", "making the group", &[&["CREATE", "<stream>", "<group>", "0"]]),
    needed("xgroup|delconsumer", "removing consumers that are gone", &[&["DELCONSUMER", "<stream>", "<group>", "c"]]),
    needed("hset", "writing retry records", &[&["<retry>", "1-1", "v"]]),
    needed("hget", "reading retry records", &[&["<retry>", "1-1"]]),
    needed("hdel", "forgetting retry records", &[&["<retry>", "1-1"]]),
    needed(
        "set",
        "the lock on the name; the watermark; the ledger's mark",
        &[&["<instance>", "v"], &["<watermark>", "v"], &["<ledger>", "v"]],
    ),
    needed(
        "get",
        "the lock on the name; the watermark; the ledger's mark",
        &[&["<instance>"], &["<watermark>"], &["<ledger>"]],
    ),
    needed("del", "giving the name up", &[&["<instance>"]]),
    needed("pttl", "whether a name is taken", &[&["<instance>"]]),
    needed("exists", "whether there is a stream", &[&["<stream>"]]),
    useful("incr", "telling the others of entries that were handed back", &[&["<handed-back>"]]),
    needed("time", "ages, by the clock of the server", &[&[]]),
    needed("ping", "a sign of life", &[&[]]),
    needed("client|id", "ending a blocked read", &[&["ID"]]),
    needed(
        "evalsha",
        "the scripts",
        &[
            &["0", "3", "<stream>", "<dead>", "<retry>"],
            &["0", "2", "<stream>", "<watermark>"],
            &["0", "2", "<stream>", "<dead>"],
            &["0", "2", "<instance>", "<handed-back>"],
        ],
    ),
    needed("script|load", "the scripts", &[&["LOAD", "return 1"]]),
    useful("client|unblock", "a stop without waiting out consumers.block", &[&["UNBLOCK", "1"]]),
    useful("client|setname", "a name in CLIENT LIST", &[&["SETNAME", "orderd"]]),
    useful("client|setinfo", "the version of orderd in CLIENT LIST", &[&["SETINFO", "LIB-NAME", "orderd"]]),
];

/// The commands that a worker sends besides, where it tells what it has settled.
pub const NOTIFIER: &[Right] = &[
    useful("publish", "live notifications", &[&["<channel>", "m"]]),
    useful("role", "whether notifications still go to the primary", &[&[]]),
    useful("multi", "a notification in one go with the acknowledgement before it", &[&[]]),
    useful("exec", "a notification in one go with the acknowledgement before it", &[&[]]),
];

/// The ACL rules of a user for workers, least privilege. With `selectors` (Redis 7.0 and later, Valkey) adding is allowed to the dead
/// letters alone; without, the user could add to the stream, too.
pub fn worker_rules(keys: &Keys, selectors: bool) -> Vec<String> {
    let mut rules = vec!["resetchannels".to_owned(), "-@all".to_owned()];
    rules.push(format!("~{}", literally(keys.stream.as_str())));
    rules.push(format!("~{}*", literally(&keys.beside())));
    rules.extend(WORKER.iter().filter(|right| !(selectors && right.command == "xadd")).map(allow));
    if selectors {
        rules.push(format!("(%W~{} +xadd)", literally(&keys.dead())));
    }
    rules
}

/// The ACL rules that a worker needs besides to publish to the channels that `pattern` matches.
pub fn notifier_rules(pattern: &str) -> Vec<String> {
    let mut rules = vec![format!("&{pattern}")];
    rules.extend(NOTIFIER.iter().map(allow));
    rules
}

/// The ACL rules of a user that only adds events.
pub fn producer_rules(keys: &Keys) -> Vec<String> {
    let key = format!("~{}", literally(keys.stream.as_str()));
    ["resetchannels", "-@all", &key, "+xadd", "+ping", "+client|id", "+client|setname", "+client|setinfo"]
        .map(str::to_owned)
        .to_vec()
}

impl Broker {
    /// Asks which rights the login lacks, also those of the notifier where it publishes to channels such as `channel`.
    pub async fn rights(&self, channel: Option<&str>) -> Result<Rights, BrokerError> {
        const OPERATION: &str = "asking for the rights of the login";
        let user = match self.commands.query::<String>(OPERATION, redis::cmd("ACL").arg("WHOAMI")).await {
            Ok(user) => user,
            Err(error) => return unknown(error, "the server has no ACL WHOAMI", "the login may not use ACL WHOAMI"),
        };
        let mut missing = Vec::new();
        let notifier: &[Right] = if channel.is_some() { NOTIFIER } else { &[] };
        for right in WORKER.iter().chain(notifier) {
            for call in right.calls {
                let question = dry_run(&user, right.command, call, &self.keys, channel);
                match self.commands.query::<Value>(OPERATION, &question).await {
                    Ok(Value::Okay) => {}
                    Ok(_) => missing.push(Missing { right: *right, keys: keys_of(call, &self.keys, channel) }),
                    // The server does not know this command, so a worker never gets to use it either.
                    Err(BrokerError { trouble: Trouble::Refused(_), .. }) if !right.essential => {}
                    Err(error) => {
                        let old = "the server cannot tell (ACL DRYRUN came with Redis 7.0)";
                        return unknown(error, old, "the login may not use ACL DRYRUN");
                    }
                }
            }
        }
        Ok(Rights::Known { user, missing })
    }
}

fn unknown(error: BrokerError, refused: &'static str, denied: &'static str) -> Result<Rights, BrokerError> {
    match error.trouble {
        Trouble::Refused(_) => Ok(Rights::Unknown { why: refused }),
        Trouble::NoPermission(_) => Ok(Rights::Unknown { why: denied }),
        _ => Err(error),
    }
}

fn dry_run(user: &str, command: &str, call: &[&str], keys: &Keys, channel: Option<&str>) -> Cmd {
    let mut question = redis::cmd("ACL");
    question.arg("DRYRUN").arg(user);
    // A subcommand is the first word of its call.
    question.arg(command.split('|').next().unwrap_or(command));
    for word in call {
        question.arg(named(word, keys, channel).unwrap_or_else(|| (*word).to_owned()));
    }
    question
}

/// What a word in `<>` stands for.
fn named(word: &str, keys: &Keys, channel: Option<&str>) -> Option<String> {
    match word {
        "<group>" => Some(keys.group.to_string()),
        key => key_named(key, keys, channel),
    }
}

fn key_named(word: &str, keys: &Keys, channel: Option<&str>) -> Option<String> {
    match word {
        "<stream>" => Some(keys.stream.to_string()),
        "<dead>" => Some(keys.dead()),
        "<retry>" => Some(keys.retry()),
        "<watermark>" => Some(keys.watermark()),
        "<ledger>" => Some(keys.ledger()),
        "<handed-back>" => Some(keys.handed_back()),
        "<channel>" => channel.map(str::to_owned),
        "<instance>" => Some(keys.instance("name")),
        _ => None,
    }
}

fn keys_of(call: &[&str], keys: &Keys, channel: Option<&str>) -> Vec<String> {
    call.iter().filter_map(|word| key_named(word, keys, channel)).collect()
}

fn allow(right: &Right) -> String {
    format!("+{}", right.command)
}

/// A key as a pattern that fits it alone.
fn literally(key: &str) -> String {
    key.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The words after each `opening` in the files of a folder: what stands in the next quotes, and in those after it if a comma or
    /// an `arg` connects them.
    fn sent(folder: &str, extension: &str, opening: &str, quote: char) -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut commands = BTreeSet::new();
        for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_none_or(|found| found != extension) || file.ends_with("rights.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for (at, _) in text.match_indices(opening) {
                let mut words = text[at + opening.len()..].split(quote);
                let command = words.next().unwrap().to_lowercase();
                let subcommand = words.nth(1).unwrap_or_default().to_lowercase();
                let has_subcommands = ["xinfo", "xgroup", "client", "script"].contains(&command.as_str());
                commands.insert(if has_subcommands { format!("{command}|{subcommand}") } else { command });
            }
        }
        commands
    }

    #[test]
    fn every_command_that_is_sent_stands_in_the_table_and_no_other() {
        let mut sent_by_us = sent("src/broker", "rs", "cmd(\"", '"');
        sent_by_us.extend(sent("src/broker", "rs", "begin(\"", '"'));
        sent_by_us.extend(sent("src/broker", "rs", "then(\"", '"'));
        sent_by_us.extend(sent("src/broker/wire", "rs", "cmd(\"", '"'));
        sent_by_us.extend(sent("src/broker/script", "lua", "redis.call('", '\''));
        sent_by_us.extend(sent("src/broker/script", "lua", "redis.pcall('", '\''));
        // Sent by the client library: the scripts, and its name.
        sent_by_us.extend(["evalsha", "script|load", "client|setinfo"].map(str::to_owned));
        // Always allowed; sent only to another database; asked by `orderd check` alone; sent by `orderd dead` alone.
        for command in ["auth", "select", "hello", "info", "xdel"] {
            assert!(sent_by_us.remove(command), "{command}");
        }
        let rights = || WORKER.iter().chain(NOTIFIER);
        let table: BTreeSet<String> = rights().map(|right| right.command.to_owned()).collect();
        assert_eq!(sent_by_us, table);
        assert_eq!(table.len(), rights().count(), "a command stands in the table once");
    }

    #[test]
    fn a_key_is_not_taken_for_a_pattern() {
        let keys = Keys::new("a*[b]?".into(), "g".into());
        assert_eq!(worker_rules(&keys, false)[2..4], ["~a\\*\\[b\\]\\?", "~{a\\*\\[b\\]\\?}:*"]);
    }

    #[test]
    fn a_worker_may_add_to_the_dead_letters_alone_where_the_server_can_tell_keys_apart() {
        let keys = Keys::new("orders:events".into(), "g".into());
        let rules = worker_rules(&keys, true);
        assert!(rules.contains(&"(%W~{orders:events}:dead +xadd)".to_owned()) && !rules.contains(&"+xadd".to_owned()));
        assert!(worker_rules(&keys, false).contains(&"+xadd".to_owned()));
    }
}
