//! Every key of the configuration.
//!
//! Owns: names, defaults, ranges and explanations, in one table that the reader, the messages and `config/orderd.toml` follow.
//! Never: a value that somebody set.

use std::time::Duration;

pub use super::key::{Key, Kind, time_text};

/// Every key there is, in the order of `config/orderd.toml`.
pub const KEYS: &[Key] = &[
    Key {
        name: "instance",
        kind: Kind::Text("printable ASCII without spaces, at most 200 characters"),
        default: None,
        doc: "The name of this worker. Its consumers in the group are called <instance>-0, <instance>-1 and so on, and after\n\
              a restart they find what they had in hand by that name. Two workers that run at the same time need two names.\n\
              When it is not set, it is the name of the host.",
        live: false,
    },
    key(
        "redis.url",
        Kind::Text("redis://[user:password@]host[:port][/db], the same with rediss://, or unix:/path/to/socket"),
        "\"redis://127.0.0.1:6379\"",
        "Where Redis (6.2 or newer) or Valkey is. With rediss:// every connection speaks TLS, and the server's certificate and\n\
         its name are always verified.",
    ),
    key(
        "redis.password_file",
        Kind::Text("the path of a readable file with the password and nothing else, or \"\" for none"),
        "\"\"",
        "A file that holds the password, so that it stands in no configuration and on no command line.\n\
         A line break at its end does not count. Empty: no file. Under systemd, the credential redis-password is that file.",
    ),
    key(
        "redis.tls_ca_file",
        PEM_FILE,
        "\"\"",
        "Whose word on the server is taken, and nobody else's. Empty: those whom the host trusts.",
    ),
    key(
        "redis.tls_cert_file",
        PEM_FILE,
        "\"\"",
        "The certificate to show where the server wants to see one. Empty: none is shown. A new one is read at the next start.",
    ),
    key("redis.tls_key_file", PEM_FILE, "\"\"", "The private key of that certificate, without a password."),
    key(
        "stream.key",
        Kind::Text("text of 1 to 512 bytes without control characters"),
        "\"orders:events\"",
        "The stream that the order events are added to. It is created when it is not there.",
    ),
    key(
        "stream.group",
        Kind::Text("text of 1 to 512 bytes without control characters"),
        "\"order-processors\"",
        "The consumer group. All workers that share the work have the same one.",
    ),
    key(
        "stream.start",
        Kind::Text("\"beginning\" | \"new\" | the id of an entry, such as \"1700000000000-0\""),
        "\"beginning\"",
        "Where the group starts when it is made for the first time: with the first entry of the stream, with what is added\n\
         from then on, or after the entry with this id. A group that is there already goes on where it was.",
    ),
    key(
        "event.action_field",
        FIELD,
        "\"action\"",
        "The field that says what happened: created, paid, shipped, and so on.",
    ),
    key(
        "event.order_field",
        FIELD,
        "\"orderId\"",
        "The field with the order id. Events with the same one are handled one at a time, in the order of the stream.",
    ),
    key("event.amount_field", FIELD, "\"amount\"", "The field with the amount, a decimal number such as 49.99."),
    key("event.user_field", FIELD, "\"userId\"", "The field with the id of the user whose order it is."),
    key(
        "event.json_field",
        Kind::Text("the name of a field, at most 512 bytes, or \"\" for none"),
        "\"\"",
        "For producers that put everything into one field: the name of that field. It then holds a JSON object with the\n\
         fields above. Empty: the entry's own fields are read.",
    ),
    key(
        "consumers.count",
        whole(1, 256),
        "4",
        "How many consumers read at the same time, each with a connection of its own.",
    ),
    live("consumers.batch", whole(1, 10_000), "256", "The most entries that one read takes."),
    key(
        "consumers.block",
        time_ms(100, 5 * MINUTE),
        "\"5s\"",
        "How long a read waits at the server for the first entry before it asks again.",
    ),
    live(
        "consumers.in_flight",
        whole(1, 1_000_000),
        "4096",
        "The most entries in hand at once, of all consumers of this worker together: it bounds the memory, and what has to\n\
         be taken over after a crash. At least consumers.batch.",
    ),
    key(
        "lanes.count",
        whole(1, 10_000),
        "64",
        "How many lanes there are. An order is always in the same lane, and a lane handles one thing at a time, so this is\n\
         how many orders can be handled at once.",
    ),
    key(
        "reaper.interval",
        time_ms(50, HOUR),
        "\"15s\"",
        "How often to look for entries that a dead worker left behind.",
    ),
    key(
        "reaper.claim_after",
        time_ms(500, 24 * HOUR),
        "\"60s\"",
        "An entry counts as left behind when its worker has not renewed its hold for so long. A living worker renews three\n\
         times in that span, also while a handler is slow. All workers of a group should have the same value.",
    ),
    key(
        "reaper.batch",
        whole(1, 10_000),
        "100",
        "The most entries that are taken over in one call. More than 50 are never asked for at once, for Redis serves nobody\n\
         else meanwhile.",
    ),
    live("trimmer.interval", time_ms(50, HOUR), "\"10s\"", "How often to look whether the stream is too long."),
    live(
        "trimmer.max_len",
        whole(1, 1_000_000_000_000),
        "10000",
        "So many of the newest entries are kept. Older ones are deleted once every group has acknowledged them.",
    ),
    live(
        "trimmer.on_blocked",
        Kind::Choice(&["keep", "trim"]),
        "\"keep\"",
        "What to do when a group still needs entries above that bound. \"keep\": the stream grows, and the log and the metrics\n\
         name the group. \"trim\": they are deleted unprocessed, and what was lost is counted.",
    ),
    live(
        "retry.max_failures",
        whole(1, 1_000_000),
        "8",
        "After so many failures an event goes to the dead letters. An outage of what the handler needs is not counted, and an\n\
         event that comes too early for its order is not given up while another worker has earlier entries in hand.",
    ),
    live(
        "retry.max_crashes",
        whole(3, 1_000_000),
        "5",
        "After so many workers died with it in hand, an event goes to the dead letters. At least 3: from the third try on an\n\
         event runs alone, and only then is it known which one is to blame. More than that, for a worker may be killed for\n\
         another reason just then.",
    ),
    live(
        "retry.delay_min",
        time_ms(1, HOUR),
        "\"500ms\"",
        "The pause after the first failure. It doubles with each further one. Meanwhile only that order waits.",
    ),
    live(
        "retry.delay_max",
        time_ms(1, 24 * HOUR),
        "\"5m\"",
        "The longest pause between two tries. At least retry.delay_min.",
    ),
    key(
        "dead.max_len",
        whole(1, 1_000_000_000_000),
        "100000",
        "So many of the newest dead letters are kept, give or take a hundred: Redis cuts in whole blocks. Where older ones are\n\
         cut, the log and the metrics say so.",
    ),
    key(
        "handler.kind",
        Kind::Choice(&["ledger", "log", "none"]),
        "\"ledger\"",
        "What an event does. \"ledger\": it is applied to its order in the ledger, exactly once. \"log\": it is logged in one\n\
         line, for a dry run. \"none\": it is acknowledged at once, to measure the road. All three acknowledge it.",
    ),
    key("handler.timeout", time_ms(10, 24 * HOUR), "\"30s\"", "A call of the handler that takes longer has failed."),
    key(
        "ledger.url",
        Kind::Text(
            "sqlite:<path of a file>, such as sqlite:orderd.db, or postgres://[user[:password]@]host[:port]/database",
        ),
        "\"sqlite:orderd.db\"",
        "Where the orders and their history are kept: in an SQLite file, which workers on one host may share, or in Postgres,\n\
         which workers on any host may share. A relative path starts at the working directory. A Postgres address that ends in\n\
         ?sslmode=verify-full speaks TLS, and the server's certificate and its name are verified.",
    ),
    key(
        "ledger.password_file",
        Kind::Text("the path of a readable file with the password and nothing else, or \"\" for none"),
        "\"\"",
        "A file that holds the password for Postgres, so that it stands in no configuration and on no command line.\n\
         A line break at its end does not count. Empty: no file. Under systemd, the credential ledger-password is that file.",
    ),
    key("ledger.tls_ca_file", PEM_FILE, "\"\"", "As redis.tls_ca_file, for Postgres."),
    key("ledger.tls_cert_file", PEM_FILE, "\"\"", "As redis.tls_cert_file, for Postgres."),
    key("ledger.tls_key_file", PEM_FILE, "\"\"", "As redis.tls_key_file, for Postgres."),
    key(
        "ledger.event_id_field",
        Kind::Text("the name of a field, at most 512 bytes, or \"\" for none"),
        "\"\"",
        "The field with an id that the producer gives to each event. An event whose id was applied before changes nothing,\n\
         even if it was published again and stands on the stream twice, or on another stream. Empty: an event is known by\n\
         its entry alone.",
    ),
    key(
        "ledger.transitions",
        Kind::Lines("\"action: from|from -> to\" for each action, with a \";\" between them"),
        "\"created: none -> created; \
         paid: created -> paid; \
         shipped: paid -> shipped; \
         delivered: shipped -> delivered; \
         cancelled: created|paid -> cancelled; \
         refunded: paid|shipped|delivered|cancelled|refunded -> refunded\"",
        "Which action leads an order from which states to which, and what comes too early or cannot be. The states are created,\n\
         paid, shipped, delivered, cancelled and refunded; \"none\" is an order that is not there yet. Here it can also be a\n\
         table, [ledger.transitions], with a line such as cancelled = \"created|paid -> cancelled\" for each action. What is set\n\
         replaces the whole.",
    ),
    key(
        "ledger.unknown_action",
        Kind::Choice(&["dead-letter", "ignore", "record"]),
        "\"dead-letter\"",
        "What becomes of an event whose action does not stand in ledger.transitions. \"dead-letter\": it goes to the dead letters.\n\
         \"ignore\": it is acknowledged and leaves no trace. \"record\": it is entered into the history of its order, and changes\n\
         nothing else.",
    ),
    key(
        "ledger.keep_inbox",
        time_ms(MINUTE, 10 * 365 * 24 * HOUR),
        "\"168h\"",
        "How long an entry is remembered after it can be delivered no more: it is below the first entry of the stream, and no\n\
         group and no dead letter holds it. Longer than the oldest backup of Redis that is ever restored: what such a backup\n\
         brings back is recognised only as long as it is remembered.",
    ),
    key(
        "ledger.keep_history",
        Kind::Text("\"forever\" | a time with its unit, such as \"8760h\", from 1m"),
        "\"forever\"",
        "How long the history of orders is kept. \"forever\", or a time: then what is older is deleted, and the ids of\n\
         ledger.event_id_field with it. The orders themselves stay.",
    ),
    key(
        "notify.enabled",
        Kind::Switch,
        "false",
        "Whether to publish a message (Redis PUBLISH) for each event, once its effect is in place and it is acknowledged.\n\
         It is for people who watch: nobody waits for it, none is sent twice, and some may be lost.",
    ),
    key(
        "notify.channel",
        Kind::Text("text with places to fill in: {userId}, {orderId}, {action}, {state}"),
        "\"notifications:user:{userId}\"",
        "The channel.",
    ),
    key(
        "notify.type",
        Kind::Text("text with places to fill in: {userId}, {orderId}, {action}, {state}"),
        "\"order.{action}\"",
        "What stands in the message as its type.",
    ),
    key(
        "notify.sse",
        Kind::Switch,
        "false",
        "Whether browsers can watch: GET /users/<id>/orders/events at admin.listen answers with server-sent events, and / with\n\
         a page that shows them. They are heard from notify.channel, whoever publishes them.",
    ),
    key(
        "admin.listen",
        Kind::Text("an IP address and a port, such as 127.0.0.1:9464 or [::]:9464"),
        "\"127.0.0.1:9464\"",
        "Where /livez, /readyz, /metrics, /status and, with notify.sse, users' orders are answered. An address that other hosts can\n\
         reach needs admin.token_file or admin.open. Port 0 takes a free one.",
    ),
    key(
        "admin.token_file",
        Kind::Text(
            "the path of a readable file with 16 to 256 letters, digits or -._~ and nothing else, or \"\" for none",
        ),
        "\"\"",
        "A file with the token that whoever asks has to present, as Authorization: Bearer, and for watching orders also as ?token=.",
    ),
    key(
        "admin.open",
        Kind::Choice(&["nothing", "probes", "machines"]),
        "\"nothing\"",
        "What is answered without a token: \"nothing\"; \"probes\": /livez and /readyz; \"machines\": these and /metrics and /status.\n\
         Users' orders never are. On a loopback address for which there is no token, everything is answered.",
    ),
    live(
        "log.level",
        Kind::Text(
            "off | error | warn | info | debug | trace, and more for single parts, such as \"info,orderd::task=debug\"",
        ),
        "\"info\"",
        "How much to log.",
    ),
    key(
        "log.format",
        Kind::Choice(&["auto", "text", "json"]),
        "\"auto\"",
        "How a line of the log looks. \"auto\": text on a terminal, JSON elsewhere.",
    ),
    key(
        "shutdown.grace",
        time_ms(0, HOUR),
        "\"25s\"",
        "How long to finish what is in hand after a stop signal. What is not done by then is handed back for another worker.\n\
         Keep it below the time after which the service manager kills (Kubernetes: 30s).",
    ),
];

const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const FIELD: Kind = Kind::Text("the name of a field, 1 to 512 bytes");
const PEM_FILE: Kind = Kind::Text("the path of a readable file in PEM form, or \"\" for none");

const fn whole(min: u64, max: u64) -> Kind {
    Kind::Whole { min, max }
}

const fn time_ms(min: u64, max: u64) -> Kind {
    Kind::Time { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default: Some(default), doc, live: false }
}

/// A key whose new value a running daemon takes over.
const fn live(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { live: true, ..key(name, kind, default, doc) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    fn shipped_file() -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/orderd.toml")).unwrap()
    }

    /// Full name → value as TOML text, and the comment lines right above it. A key behind a `#` counts as unset.
    fn keys_in(file: &str) -> BTreeMap<String, (Option<String>, String)> {
        let (mut found, mut table, mut comment) = (BTreeMap::new(), String::new(), Vec::new());
        for line in file.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = format!("{name}.");
                comment.clear();
            } else if let Some((name, value)) = line.strip_prefix("#").unwrap_or(line).split_once(" = ")
                && !name.contains(' ')
            {
                let value = (!line.starts_with('#')).then(|| value.to_owned());
                let known = found.insert(format!("{table}{name}"), (value, comment.join("\n")));
                assert!(known.is_none(), "{table}{name} stands there twice");
                comment.clear();
            } else if let Some(text) = line.strip_prefix("# ").or_else(|| line.strip_prefix("#")) {
                comment.push(text.to_owned());
            } else {
                assert_eq!(line, "", "neither a table, a key, a comment nor empty");
                comment.clear();
            }
        }
        found
    }

    #[test]
    fn the_shipped_file_has_every_key_once_with_its_default_and_explanation_and_nothing_else() {
        let file = shipped_file();
        let mut found = keys_in(&file);
        for key in KEYS {
            let (value, comment) = found.remove(key.name).unwrap_or_else(|| panic!("{} is missing", key.name));
            assert_eq!(value.as_deref(), key.default, "the default of {}", key.name);
            let reload = if key.live { "\nA reload (SIGHUP) takes it over." } else { "" };
            let expected = format!("{}\nAllowed: {}{reload}", key.doc, key.allowed());
            assert_eq!(comment, expected, "the comment of {}", key.name);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), Vec::<&String>::new(), "keys that do not exist");
        toml::de::DeTable::parse(&file).unwrap();
    }

    #[test]
    fn names_are_unique_and_at_most_one_table_deep() {
        let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(KEYS.iter().all(|key| key.name.matches('.').count() <= 1));
    }
}
