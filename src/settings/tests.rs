//! Tests of the configuration as a whole: from what is written to settings or to a report.

use std::path::{Path, PathBuf};

use super::*;
use crate::admin::guard::Open;
use crate::domain::order::UnknownAction;
use crate::task::trimmer;

/// A configuration file in a folder of its own, and what is set besides.
struct Written {
    folder: tempfile::TempDir,
    sources: Sources,
}

fn file(text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orderd.toml");
    std::fs::write(&path, text).unwrap();
    Written { folder, sources: Sources { file: Some(path), ..Sources::default() } }
}

impl Written {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.sources.overrides.push((name.into(), value.into()));
        self
    }

    fn settings(&self) -> Settings {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One line a mistake: what it is about, what is wrong, and where, without the folder.
    fn mistakes(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let errors = load(&self.sources).unwrap_err();
        let line = |mistake: &Mistake| format!("{}: {} ({})", mistake.subject, mistake.problem, mistake.origin);
        errors.mistakes().iter().map(|mistake| line(mistake).replace(&folder, "")).collect()
    }
}

fn mistakes(text: &str) -> Vec<String> {
    file(text).mistakes()
}

fn allowed(text: &str) -> Vec<String> {
    load(&file(text).sources).unwrap_err().mistakes().iter().filter_map(|mistake| mistake.allowed.clone()).collect()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let settings = load(&Sources::default()).unwrap();
    assert_eq!(settings.redis.to_string(), "redis://127.0.0.1:6379/0");
    assert_eq!(settings.stream.key.as_str(), "orders:events");
    assert_eq!(settings.stream.start, Start::Beginning);
    assert_eq!(settings.event.json, None);
    assert_eq!(settings.consumers.block, Duration::from_secs(5));
    assert_eq!(settings.tuning.retry.delay_max, Duration::from_mins(5));
    assert_eq!(settings.tuning.trimmer.on_blocked, trimmer::OnBlocked::Keep);
    assert_eq!(settings.handler, HandlerKind::Ledger);
    assert_eq!(settings.ledger, Location::Sqlite("orderd.db".into()));
    assert_eq!(settings.instance, rustix::system::uname().nodename().to_str().unwrap());
}

#[test]
fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
    let written = file("[consumers]\ncount = 1\nbatch = 10\nin_flight = 100\n")
        .variable("ORDERD__CONSUMERS__BATCH", "20")
        .variable("ORDERD__CONSUMERS__IN_FLIGHT", "200")
        .flag("consumers.in_flight", "300");
    let settings = written.settings();
    assert_eq!((settings.consumers.count, settings.tuning.batch, settings.tuning.in_flight), (1, 20, 300));
}

#[test]
fn every_key_can_be_set_from_a_file_from_the_environment_and_from_the_command_line() {
    for key in keys::KEYS {
        let toml = key.default.unwrap_or("\"worker-1\"");
        let text = toml.trim_matches('"');
        let variable = format!("ORDERD__{}", key.name.to_uppercase().replace('.', "__"));
        let line = |settings: &Settings| {
            let line = settings.lines.iter().find(|line| line.key.name == key.name).unwrap();
            format!("{} by {}", line.value, line.origin)
        };
        let by_file = file(&format!("{} = {toml}", key.name)).settings();
        let by_variable = file("").variable(&variable, text).settings();
        let by_flag = file("").flag(key.name, text).settings();
        let value = line(&by_flag).replace(" by the command line", "");
        assert_eq!(line(&by_variable), format!("{value} by environment variable {variable}"));
        assert!(line(&by_file).starts_with(&format!("{value} by ")) && line(&by_file).ends_with("line 1"));
    }
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let written = file(
        "instance = \"two words\"\n\n[stream]\nkye = \"s\"\nstart = \"end\"\n\n[strem]\nkey = 1\n\n[consumers]\nbatch = 0\nblock = 5\n",
    )
    .variable("ORDERD__HANDLER__KIND", "leger")
    .variable("ORDERD__HANDLER__TIMOUT", "1s")
    .flag("log.level", "inof")
    .flag("log.levle", "info");
    assert_eq!(
        written.mistakes(),
        [
            "stream.kye: there is no such key; did you mean stream.key? (orderd.toml, line 4)",
            "strem: there is no such key; did you mean stream? (orderd.toml, line 7)",
            "ORDERD__HANDLER__TIMOUT: there is no such key; did you mean ORDERD__HANDLER__TIMEOUT? \
             (environment variable ORDERD__HANDLER__TIMOUT)",
            "log.levle: there is no such key; did you mean log.level? (the command line)",
            "instance: \"two words\" has other characters (orderd.toml, line 1)",
            "stream.start: \"end\" is neither of the words nor an id (orderd.toml, line 5)",
            "consumers.batch: 0 is out of range (orderd.toml, line 11)",
            "consumers.block: 5 has no unit, such as \"s\" or \"ms\" (orderd.toml, line 12)",
            "handler.kind: \"leger\" is none of its words; did you mean \"ledger\"? \
             (environment variable ORDERD__HANDLER__KIND)",
            "log.level: \"inof\" is not a level (the command line)",
        ]
    );
}

#[test]
fn each_mistake_says_what_is_allowed() {
    assert_eq!(allowed("consumers.batch = 0"), ["a whole number from 1 to 10000"]);
    assert_eq!(allowed("consumers.block = \"1ms\""), ["a time with its unit, such as \"1m 30s\", from 100ms to 5m"]);
    assert_eq!(allowed("trimmer.on_blocked = \"maybe\""), ["\"keep\" | \"trim\""]);
    assert_eq!(allowed("stream.name = \"s\""), ["in [stream]: key, group, start"]);
    assert!(allowed("colour = 1")[0].starts_with("instance, and the tables [redis] [stream] [event] "));
}

#[test]
fn nothing_is_turned_into_another_type_in_silence() {
    for (text, problem) in [
        ("consumers.count = 1.9", "a number with a fraction stands there"),
        ("consumers.count = \"4\"", "\"4\" is not a whole number"),
        ("consumers.count = true", "true or false stands there"),
        ("consumers.count = -1", "-1 is out of range"),
        ("consumers.count = 99999999999999999999999", "the number is out of range"),
        ("consumers.count = [1]", "a list stands there"),
        ("consumers.block = \"5\"", "\"5\" has no unit, such as \"s\" or \"ms\""),
        ("consumers.block = \"soon\"", "\"soon\" is not a time"),
        ("consumers.block = \"-5s\"", "\"-5s\" is not a time"),
        ("consumers.block = \"1h\"", "\"1h\" is out of range"),
        ("stream.key = 12", "a number stands there, not text in quotes"),
        ("stream.key = 2026-01-01", "a date stands there"),
        ("stream.key = { name = \"s\" }", "a table stands there"),
        ("handler.kind = \"Ledger\"", "\"Ledger\" is none of its words; did you mean \"ledger\"?"),
    ] {
        let key = text.split_once(" = ").unwrap().0;
        assert_eq!(mistakes(text), [format!("{key}: {problem} (orderd.toml, line 1)")], "{text}");
    }
    let many = file("").variable("ORDERD__LANES__COUNT", "many").variable("ORDERD__REAPER__BATCH", "4.0");
    assert_eq!(many.mistakes().len(), 2);
}

#[test]
fn a_table_is_not_a_key_and_a_key_is_not_a_table() {
    let only_keys = "it is a table, and only its keys can be set";
    assert_eq!(mistakes("stream = \"s\""), [format!("stream: {only_keys} (orderd.toml, line 1)")]);
    assert_eq!(mistakes("[[stream]]\nkey = \"s\""), [format!("stream: {only_keys} (orderd.toml, line 1)")]);
    assert_eq!(
        file("stream = \"s\"").variable("ORDERD__STREAM__KEY", "t").mistakes().len(),
        1,
        "and what wins over it does not hide it"
    );
    let variable = file("").variable("ORDERD__STREAM", "s").mistakes();
    assert_eq!(variable, [format!("ORDERD__STREAM: {only_keys} (environment variable ORDERD__STREAM)")]);
    assert_eq!(mistakes("\"stream.key\" = \"s\"").len(), 1);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let default = "the default";
    for (text, expected) in [
        (
            "consumers.in_flight = 100",
            format!(
                "consumers.in_flight: 100 is less than consumers.batch = 256 \
                 (orderd.toml, line 1 (consumers.in_flight), {default} (consumers.batch))"
            ),
        ),
        (
            "retry.delay_min = \"10m\"",
            format!(
                "retry.delay_min: it is longer than retry.delay_max \
                 (orderd.toml, line 1 (retry.delay_min), {default} (retry.delay_max))"
            ),
        ),
        (
            "event.user_field = \"orderId\"",
            format!(
                "event.user_field: \"orderId\" is the field of event.order_field too \
                 (orderd.toml, line 1 (event.user_field), {default} (event.order_field))"
            ),
        ),
        (
            "ledger.event_id_field = \"orderId\"",
            format!(
                "ledger.event_id_field: \"orderId\" is the field of event.order_field too, and it has to tell events apart \
                 (orderd.toml, line 1 (ledger.event_id_field), {default} (event.order_field))"
            ),
        ),
    ] {
        assert_eq!(mistakes(text), [expected]);
    }
    let equal = file("[consumers]\nbatch = 7\nin_flight = 7\n[retry]\ndelay_min = \"2s\"\ndelay_max = \"2s\"\n");
    equal.settings();
}

#[test]
fn an_address_that_others_can_reach_has_a_token_or_says_what_is_open() {
    let open = file("[admin]\nlisten = \"0.0.0.0:9464\"\n");
    assert!(open.mistakes()[0].starts_with("admin.listen: 0.0.0.0:9464 can be reached from other hosts, and nothing"));
    let probes = open.flag("admin.open", "probes");
    assert_eq!(probes.settings().admin.open, Open::Probes);
    let sse = probes.flag("notify.sse", "true");
    assert!(sse.mistakes()[0].contains("without a token everybody could watch every user"), "{:?}", sse.mistakes());

    let path = sse.folder.path().join("token");
    std::fs::write(&path, "canary-of-some-length\n").unwrap();
    let closed = sse.flag("admin.token_file", path.to_str().unwrap());
    assert!(!format!("{:?} {}", closed.settings(), effective(&closed.settings())).contains("canary"));
    std::fs::write(&path, "canary & more of it").unwrap();
    let mistakes = closed.mistakes().concat();
    assert!(mistakes.contains("no such token") && !mistakes.contains("canary"), "{mistakes}");
}

#[test]
fn who_watches_is_told_by_the_channel() {
    let channel = "[notify]\nsse = true\nchannel = \"shop:{userId}:{orderId}\"\n";
    assert!(file(channel).mistakes()[0].starts_with("notify.sse: a user cannot be told from a channel of shop:"));
}

#[test]
fn values_out_of_their_range_are_refused() {
    for text in [
        "instance = \"\"",
        "instance = \"wörker\"",
        "stream.key = \"\"",
        "stream.group = \"a\\nb\"",
        "stream.start = \"$\"",
        "stream.start = \"5\"",
        "event.action_field = \"\"",
        "reaper.claim_after = \"499ms\"",
        "trimmer.max_len = 0",
        "retry.max_crashes = 2",
        "admin.listen = \"localhost\"",
        "admin.listen = \"127.0.0.1\"",
        "ledger.url = \"mysql://db/orders\"",
        "ledger.url = \"postgres://db/orders?sslmode=prefer\"",
        "ledger.password_file = \"/does/not/exist\"",
        "redis.url = \"http://localhost\"",
        "log.level = \"\"",
        "log.level = \"orderd=inof\"",
        "redis.password_file = \"/does/not/exist\"",
        "redis.url = \"rediss://localhost\"\nredis.tls_ca_file = \"/does/not/exist\"",
    ] {
        assert_eq!(mistakes(text).len(), 1, "{text}");
    }
    let long = "x".repeat(513);
    assert_eq!(mistakes(&format!("instance = {long:?}\nstream.key = {long:?}")).len(), 2);
}

#[test]
fn values_of_every_form_are_understood() {
    let settings = file(
        "instance = \"web-1\"\nstream.start = \"1700000000000-5\"\nevent.json_field = \"data\"\nadmin.listen = \"[::]:0\"\nadmin.open = \"machines\"\n\
         redis.url = \"unix:/run/redis.sock\"\nconsumers.block = \"1m 30s\"\nlog.level = \"warn,orderd::task=debug\"\n\
         handler.kind = \"none\"\nledger.url = \"sqlite:/var/lib/orderd/o.db\"\ntrimmer.on_blocked = \"trim\"\n",
    )
    .settings();
    assert_eq!(settings.instance, "web-1");
    assert_eq!(settings.stream.start, Start::After("1700000000000-5".parse().unwrap()));
    assert_eq!(settings.event.json.as_deref(), Some("data"));
    assert!(settings.admin.listen.ip().is_unspecified());
    assert_eq!(settings.consumers.block, Duration::from_secs(90));
    assert_eq!(settings.handler, HandlerKind::None);
    assert_eq!(settings.tuning.trimmer.on_blocked, trimmer::OnBlocked::Trim);
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_line_and_column_and_what_else_is_wrong() {
    let written = file("[stream]\nkey = \"s\"\ngroup = = \"g\"\n").variable("ORDERD__STREAM__KYE", "s");
    let mistakes = written.mistakes();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(mistakes[0].starts_with("the configuration file: not TOML: "), "{mistakes:?}");
    assert!(mistakes[0].ends_with("(orderd.toml, line 3, column 9)"), "{mistakes:?}");
}

#[test]
fn a_file_that_was_asked_for_has_to_be_there() {
    let missing = Sources { file: Some("/does/not/exist.toml".into()), ..Sources::default() };
    let text = load(&missing).unwrap_err().to_string();
    assert!(text.contains("the configuration file: cannot be read") && text.contains("/does/not/exist.toml"), "{text}");
    assert_eq!(find_file(Some(PathBuf::from("x.toml"))), Some(PathBuf::from("x.toml")));
}

#[test]
fn text_from_the_environment_stays_as_it_is() {
    for text in ["007", "1e5", "true", " a "] {
        let settings = file("").variable("ORDERD__STREAM__KEY", text).settings();
        assert_eq!(settings.stream.key.as_str(), text);
    }
}

#[test]
fn variables_of_others_are_left_alone_and_ours_have_to_be_spelled_right() {
    let written = file("")
        .variable("ORDERD_PORT", "tcp://10.0.0.1:9464")
        .variable("ORDERD_SERVICE_HOST", "10.0.0.1")
        .variable("HOME", "/root");
    written.settings();
    let odd = file("").variable("ORDERD__Stream__key", "s").variable("ORDERD__", "x").mistakes();
    assert_eq!(odd.len(), 2, "{odd:?}");
    assert!(odd[0].contains("did you mean ORDERD__STREAM__KEY?"), "{odd:?}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;
    let mut written = file("");
    let bytes = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
    written.sources.environment.push(("ORDERD__STREAM__KEY".into(), bytes));
    assert_eq!(written.mistakes(), ["ORDERD__STREAM__KEY: it is not valid UTF-8 (the environment)"]);
}

#[test]
fn the_password_comes_from_its_file_without_the_line_break() {
    for (content, password) in
        [("canary", "canary"), ("canary\n", "canary"), ("canary\r\n", "canary"), (" a \n", " a ")]
    {
        let written = file("");
        let path = written.folder.path().join("password");
        std::fs::write(&path, content).unwrap();
        let settings = written.flag("redis.password_file", path.to_str().unwrap()).settings();
        let auth = redis::cmd("AUTH").arg(password).get_packed_command();
        assert_eq!(settings.redis.login()[0].get_packed_command(), auth, "{content:?}");
    }
    for content in [&b""[..], b"\n", &[0xff], &[b'x'; 5000]] {
        let written = file("");
        let path = written.folder.path().join("password");
        std::fs::write(&path, content).unwrap();
        let mistakes = written.flag("redis.password_file", path.to_str().unwrap()).mistakes();
        assert!(mistakes[0].starts_with("redis.password_file: password: "), "{mistakes:?}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let mut texts = Vec::new();
    let inside = file("redis.url = \"redis://app:canary@localhost\"");
    texts.push(effective(&inside.settings()));
    texts.push(format!("{:?} {:?}", inside.settings(), inside.flag("redis.url", "redis://:canary@h").sources));

    let by_file = file("");
    let path = by_file.folder.path().join("password");
    std::fs::write(&path, "canary").unwrap();
    let by_file = by_file.flag("redis.password_file", path.to_str().unwrap());
    texts.push(format!("{:?} {}", by_file.settings(), effective(&by_file.settings())));
    let both = by_file.variable("ORDERD__REDIS__URL", "redis://:canary@localhost");
    assert!(both.mistakes()[0].starts_with("redis.password_file: there is a password in redis.url as well"));
    texts.push(load(&both.sources).unwrap_err().to_string());

    for text in [
        "redis.url = \"redis://:canary@local host\"",
        "redis.url = \"redis://:canary@localhost",
        "redis.url = \"redis://:canary@localhost\" canary",
        "redis.url = [\"redis://:canary@localhost\"]",
        "redis.password = \"canary\"",
        "ledger.url = \"mysql://app:canary@db/orders\"",
        "ledger.url = \"postgres://app:can@ary@db/canary\"",
        "ledger.url = \"postgres://app:canary@db/orders?sslmode=prefer\"",
        "ledger.url = \"postgres://app:canary@db:port/orders\"",
        "redis = \"canary\"",
    ] {
        let errors = load(&file(text).sources).unwrap_err();
        texts.push(format!("{errors} {errors:?}"));
    }
    texts.push(load(&file("").variable("ORDERD__REDIS__PASSWORD", "canary").sources).unwrap_err().to_string());
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn no_password_of_the_ledger_is_ever_shown() {
    let mut texts = Vec::new();
    let postgres = file("instance = \"web-1\"\nledger.url = \"postgres://app:canary@db/orders\"\n");
    assert!(effective(&postgres.settings()).contains("postgres://app:[redacted]@db/orders"));
    texts.push(format!("{:?} {}", postgres.settings(), effective(&postgres.settings())));
    let path = postgres.folder.path().join("password");
    std::fs::write(&path, "canary").unwrap();
    let both = postgres.flag("ledger.password_file", path.to_str().unwrap());
    assert!(both.mistakes()[0].starts_with("ledger.password_file: there is a password in ledger.url as well"));
    texts.push(load(&both.sources).unwrap_err().to_string());
    let by_file = both.flag("ledger.url", "postgres://app@db/orders");
    let Location::Postgres(address) = by_file.settings().ledger else { panic!("not Postgres") };
    assert!(address.has_password());
    texts.push(format!("{:?} {}", by_file.settings(), effective(&by_file.settings())));
    let no_use = by_file.flag("ledger.url", "sqlite:orderd.db");
    assert!(no_use.mistakes()[0].starts_with("ledger.password_file: the ledger is an SQLite file"));
    texts.push(load(&no_use.sources).unwrap_err().to_string());
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn the_effective_configuration_has_every_key_and_can_be_read_again() {
    let written =
        file("instance = \"web-1\"\nstream.key = \"a \\\"b\\\" \\\\ c\"\n[reaper]\nclaim_after = \"1m 1s 5ms\"\n")
            .variable("ORDERD__LOG__FORMAT", "json");
    let shown = effective(&written.settings());
    assert!(shown.contains("# environment variable ORDERD__LOG__FORMAT"), "{shown}");
    let again = file(&shown).settings();
    let values = |settings: &Settings| -> Vec<_> {
        settings.lines.iter().map(|line| (line.key.name, line.value.clone())).collect()
    };
    assert_eq!(values(&again), values(&written.settings()));
    let names: Vec<_> = keys::KEYS.iter().map(|key| key.name).collect();
    assert_eq!(values(&again).iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
}

#[test]
fn the_examples_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let examples: Vec<_> =
        std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!examples.is_empty());
    for path in examples.into_iter().chain([root.join("orderd.toml")]) {
        // The password file of an example is not on this machine.
        let overrides = vec![("redis.password_file".to_owned(), String::new())];
        let sources = Sources { file: Some(path.clone()), overrides, ..Sources::default() };
        load(&sources).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn the_steps_of_an_order_come_as_text_or_in_the_file_as_a_table() {
    let defaults = load(&Sources::default()).unwrap().rules;
    assert_eq!(defaults, Rules::default());

    let table = "[ledger]\nunknown_action = \"record\"\n[ledger.transitions]\norder-placed = \"none -> created\"\n\
        paid = \"created | paid -> paid\"\n";
    let written = file(table).settings();
    assert_eq!(written.rules.steps.to_string(), "order-placed: none -> created; paid: created|paid -> paid");
    assert_eq!(written.rules.unknown, UnknownAction::Record);
    assert!(
        effective(&written).contains("transitions = \"order-placed: none -> created; paid: created|paid -> paid\"")
    );

    let shorter = "created: none -> created";
    let written = file(table).variable("ORDERD__LEDGER__TRANSITIONS", shorter).settings();
    assert_eq!(written.rules.steps.to_string(), shorter, "what is set later replaces the whole");

    assert_eq!(
        mistakes("[ledger.transitions]\ncreated = \"none -> born\"\npaid = \"made -> paid\"\n"),
        [
            "ledger.transitions: \"created\": \"born\" is not a state; \"paid\": \"made\" is not a state (orderd.toml, line 1)"
        ]
    );
    assert_eq!(
        mistakes("[ledger.transitions]\ncreated = 7\n"),
        ["ledger.transitions: something else than text for \"created\" stands there (orderd.toml, line 1)"]
    );
}

#[test]
fn a_password_on_the_command_line_is_refused_with_the_way_out_and_does_not_show() {
    for (key, url, file) in [
        ("redis.url", "redis://app:canary@localhost", "redis.password_file"),
        ("redis.url", "unix:/run/redis.sock?pass=canary", "redis.password_file"),
        ("ledger.url", "postgres://app:canary@localhost/orders", "ledger.password_file"),
    ] {
        let written = file_of_nothing().flag(key, url);
        let report = load(&written.sources).unwrap_err().to_string();
        let variable = format!("ORDERD__{}", key.to_uppercase().replace('.', "__"));
        assert!(report.contains(file) && report.contains(&variable), "{report}");
        assert!(!report.contains("canary"), "{report}");
        file_of_nothing().variable(&variable, url).settings();
    }
    // There is no such key, and what was meant is named.
    let report = load(&file_of_nothing().flag("redis.password", "canary").sources).unwrap_err().to_string();
    assert!(report.contains("did you mean redis.password_file?") && !report.contains("canary"), "{report}");
}

#[test]
fn a_credential_of_the_service_manager_is_the_password_file_unless_somebody_says_otherwise() {
    let written = file("[redis]\npassword_file = \"\"\n");
    let folder = written.folder.path().to_owned();
    let line = |written: &Written| {
        let text = effective(&written.settings());
        text.lines().find(|line| line.starts_with("password_file = ")).unwrap().to_owned()
    };
    let written = written.variable("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    assert!(!line(&written).contains("credential"), "there is none");

    std::fs::write(folder.join("redis-password"), "canary\n").unwrap();
    assert!(line(&written).ends_with("# the credential redis-password"), "{}", line(&written));
    assert!(written.settings().redis.has_password());
    std::fs::write(folder.join("other"), "other\n").unwrap();
    let other = folder.join("other").display().to_string();
    let written = written.variable("ORDERD__REDIS__PASSWORD_FILE", &other);
    assert!(line(&written).contains("ORDERD__REDIS__PASSWORD_FILE"), "{}", line(&written));
}

fn file_of_nothing() -> Written {
    file("")
}
