//! `orderd check`, run as a process.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A configuration file in a folder of its own.
struct Config {
    folder: tempfile::TempDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let config = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(config.file(), text).unwrap();
        config
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("orderd.toml")
    }

    /// `orderd check --offline` with this file, and nothing from the environment of the tests.
    fn check(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        orderd(&["check", "--offline", "--config", self.file().to_str().unwrap()], arguments, variables)
    }
}

fn orderd(first: &[&str], then: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderd"));
    command.env_clear().envs(variables.iter().copied()).args(first).args(then).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_right_configuration_is_confirmed() {
    let output = Config::new("instance = \"web-1\"\n[stream]\nkey = \"shop\"\n").check(&[], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("web-1 reads shop as order-processors"), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_shipped_configuration_is_right() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/orderd.toml");
    let output = orderd(&["check", "--offline", "--config", shipped], &["--instance", "web-1"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn everything_wrong_is_reported_at_once_with_its_place_and_exit_code_78() {
    let config = Config::new("[consumers]\nbatch = 0\n\n[strem]\nkey = \"x\"\n");
    let output = config.check(&["--set", "retry.delay_min=10m"], &[("ORDERD__HANDLER__TIMEOUT", "30")]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stdout(&output), "");
    let report = stderr(&output).replace(&config.file().display().to_string(), "orderd.toml");
    let expected = "\
orderd: the configuration has 4 mistakes:

  strem: there is no such key; did you mean stream?
      allowed: instance, and the tables [redis] [stream] [event] [consumers] [lanes] [reaper] [trimmer] [retry] [dead] [handler] [ledger] [notify] [admin] [log] [shutdown]
      where:   orderd.toml, line 4

  consumers.batch: 0 is out of range
      allowed: a whole number from 1 to 10000
      where:   orderd.toml, line 2

  retry.delay_min: it is longer than retry.delay_max
      allowed: at most retry.delay_max
      where:   the command line (retry.delay_min), the default (retry.delay_max)

  handler.timeout: \"30\" has no unit, such as \"s\" or \"ms\"
      allowed: a time with its unit, such as \"1m 30s\", from 10ms to 24h
      where:   environment variable ORDERD__HANDLER__TIMEOUT
";
    assert_eq!(report, expected);
}

#[test]
fn print_shows_what_is_in_force_and_what_set_it_and_no_secret() {
    let config = Config::new("[redis]\nurl = \"redis://app:canary@localhost\"\n[lanes]\ncount = 7\n");
    let variables = [("ORDERD__LOG__LEVEL", "debug"), ("ORDERD__STREAM__KEY", "from-environment")];
    let arguments = ["--print", "--log-level", "warn", "--set", "log.level=error", "--instance", "web-1"];
    let output = config.check(&arguments, &variables);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(!shown.contains("canary"), "{shown}");
    for (assignment, origin) in [
        ("instance = \"web-1\"", "the command line"),
        ("url = \"redis://app:[redacted]@localhost:6379/0\"", "orderd.toml, line 2"),
        ("count = 7", "orderd.toml, line 4"),
        ("key = \"from-environment\"", "environment variable ORDERD__STREAM__KEY"),
        ("level = \"warn\"", "the command line"),
        ("grace = \"25s\"", "the default"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(assignment));
        assert!(line.is_some_and(|line| line.ends_with(origin)), "{assignment} by {origin} in\n{shown}");
    }
}

#[test]
fn what_was_printed_is_a_configuration_file() {
    let first = Config::new("[stream]\nkey = \"shop\"\n").check(&["--print", "--instance", "web-1"], &[]);
    let second = Config::new(&stdout(&first)).check(&["--print"], &[]);
    let values = |output: &Output| -> Vec<String> {
        stdout(output).lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn the_file_can_be_named_by_the_environment_and_has_to_be_there() {
    let config = Config::new("instance = \"web-1\"\n");
    let file = config.file();
    let named = orderd(&["check", "--offline"], &[], &[("ORDERD_CONFIG", file.to_str().unwrap())]);
    assert!(stdout(&named).contains("web-1 reads"), "{}", stderr(&named));

    fs::remove_file(&file).unwrap();
    let gone = config.check(&[], &[]);
    assert_eq!(gone.status.code(), Some(78));
    assert!(stderr(&gone).contains("the configuration file: cannot be read"), "{}", stderr(&gone));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_the_help_with_0() {
    for arguments in [&["chek"][..], &[], &["check", "--set", "no-value"], &["check", "--nothing"]] {
        let output = orderd(arguments, &[], &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!stderr(&output).is_empty());
    }
    let help = orderd(&["--help"], &[], &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("78  the configuration is wrong"), "{}", stdout(&help));
}
