//! From single values to settings.
//!
//! Owns: what each key becomes, and which values do not go together.
//! Never: a guess. A mistake leaves a hole, and settings with a hole are not made.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use secrecy::{ExposeSecret, SecretString};

use super::read::Reader;
use super::tls::Wanted;
use super::{HandlerKind, NotifySettings, Settings, StreamSettings, password, tls};
use crate::admin;
use crate::admin::guard::Open;
use crate::broker::address::Address;
use crate::broker::group::Start;
use crate::domain::decode::FieldNames;
use crate::domain::id::{GroupName, StreamKey};
use crate::domain::notice::Form;
use crate::domain::order::steps::Steps;
use crate::domain::order::{Rules, UnknownAction};
use crate::domain::retry::RetryPolicy;
use crate::domain::template::Template;
use crate::ledger::location::Location;
use crate::task::tuning::Tuning;
use crate::task::{bookkeeper, consumer, lane, reaper, trimmer};
use crate::telemetry::logging::{self, Format};

const MAX_NAME_BYTES: usize = 512;
const MAX_INSTANCE_BYTES: usize = 200;

/// Reads every key, in the order of the table of keys. `None` means that there are mistakes.
pub(super) fn settings(reader: &mut Reader) -> Option<Settings> {
    let instance = instance(reader);
    let redis = redis(reader);
    let stream = stream(reader);
    let event = event(reader);
    let consumers = consumers(reader);
    let lanes = reader.whole("lanes.count");
    let sweep = reaper(reader);
    let trimmer = trimmer(reader);
    let retry = retry(reader);
    let max_letters = reader.whole("dead.max_len");
    let handler = reader.choice(
        "handler.kind",
        &[("ledger", HandlerKind::Ledger), ("log", HandlerKind::Log), ("none", HandlerKind::None)],
    );
    let timeout = reader.time("handler.timeout");
    let ledger = ledger(reader);
    let event = with_event_id(reader, event);
    let rules = rules(reader);
    let bookkeeper = bookkeeper(reader);
    let notify = notify(reader);
    let admin = admin(reader, notify.as_ref().is_some_and(|notify| notify.sse));
    let log = log(reader);
    let grace = reader.time("shutdown.grace");
    let (consumers, batch, in_flight) = consumers?;
    Some(Settings {
        instance: instance?,
        redis: redis?,
        stream: stream?,
        event: event?,
        consumers,
        lanes: lane::Options { count: lanes?, timeout: timeout?, max_letters: max_letters? },
        tuning: Tuning { batch, in_flight, retry: retry?, trimmer: trimmer? },
        reaper: sweep?,
        handler: handler?,
        ledger: ledger?,
        rules: rules?,
        notify: notify?,
        bookkeeper: bookkeeper?,
        admin: admin?,
        log: log?,
        grace: grace?,
        lines: Vec::new(),
    })
}

fn instance(reader: &mut Reader) -> Option<String> {
    if !reader.is_set("instance") {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        reader.set_default("instance", host, "the host name");
    }
    reader.text("instance", |text| match text {
        "" => Err("it is empty".to_owned()),
        text if text.len() > MAX_INSTANCE_BYTES => Err(format!("it has {} characters", text.len())),
        text if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        text => Err(format!("{text:?} has other characters")),
    })
}

fn redis(reader: &mut Reader) -> Option<Address> {
    let mut url = String::new();
    let parse = |text: &str| {
        text.clone_into(&mut url);
        Address::parse(text, None).map_err(|_| "not the address of a Redis server".to_owned())
    };
    let address = reader.redacted("redis.url", parse, |address, _| address.to_string());
    let password = reader.text("redis.password_file", password::in_file);
    let asked = address.as_ref().is_none_or(Address::is_secure);
    let tls = tls::tls(reader, &tls::REDIS, asked);
    let (address, password) = (address?, password?);
    if address.has_password() {
        password::not_on_the_command_line(reader, "redis.url", "redis.password_file")?;
    }
    if password.is_some() && address.has_password() {
        reader.conflict(
            "redis.password_file",
            "redis.url",
            "there is a password in redis.url as well".to_owned(),
            "one of the two; the file is the safer place",
        );
        return None;
    }
    let address = Address::parse(&url, password.as_ref()).ok()?;
    Some(match tls? {
        Wanted::Tls(tls) => address.with_tls(tls),
        Wanted::Plain => address,
    })
}

fn stream(reader: &mut Reader) -> Option<StreamSettings> {
    let key = reader.text("stream.key", |text| name(text).map(|()| StreamKey::from(text)));
    let group = reader.text("stream.group", |text| name(text).map(|()| GroupName::from(text)));
    let start = reader.text("stream.start", |text| match (text, text.parse()) {
        ("beginning", _) => Ok(Start::Beginning),
        ("new", _) => Ok(Start::New),
        (_, Ok(id)) => Ok(Start::After(id)),
        (text, Err(_)) => Err(format!("{text:?} is neither of the words nor an id")),
    });
    Some(StreamSettings { key: key?, group: group?, start: start? })
}

fn event(reader: &mut Reader) -> Option<FieldNames> {
    const KEYS: [&str; 4] = ["event.action_field", "event.order_field", "event.amount_field", "event.user_field"];
    let fields = KEYS.map(|key| reader.text(key, |text| name(text).map(|()| text.to_owned())));
    let json = reader.text("event.json_field", |text| match text {
        "" => Ok(None),
        text => name(text).map(|()| Some(text.to_owned())),
    });
    for (later, key) in KEYS.iter().enumerate() {
        let Some(field) = &fields[later] else { continue };
        let same = fields[..later].iter().position(|earlier| earlier.as_ref() == Some(field));
        if let Some(earlier) = same {
            let problem = format!("{field:?} is the field of {} too", KEYS[earlier]);
            reader.conflict(key, KEYS[earlier], problem, "a field of its own for each of the four");
        }
    }
    let [action, order, amount, user] = fields;
    // `ledger.event_id_field` comes to it later: it stands in another table.
    Some(FieldNames { action: action?, order: order?, amount: amount?, user: user?, event_id: None, json: json? })
}

/// The names, and with them the field with what a producer calls an event, where one is set.
fn with_event_id(reader: &mut Reader, names: Option<FieldNames>) -> Option<FieldNames> {
    const KEY: &str = "ledger.event_id_field";
    let field = reader.text(KEY, |text| match text {
        "" => Ok(None),
        text => name(text).map(|()| Some(text.to_owned())),
    })?;
    if let (Some(field), Some(names)) = (&field, &names) {
        let others = [
            ("event.action_field", &names.action),
            ("event.order_field", &names.order),
            ("event.amount_field", &names.amount),
            ("event.user_field", &names.user),
        ];
        if let Some((other, _)) = others.iter().find(|(_, name)| *name == field) {
            let problem = format!("{field:?} is the field of {other} too, and it has to tell events apart");
            reader.conflict(KEY, other, problem, "a field of its own");
        }
    }
    Some(FieldNames { event_id: field, ..names? })
}

fn bookkeeper(reader: &mut Reader) -> Option<bookkeeper::Options> {
    let keep_inbox = reader.time("ledger.keep_inbox");
    let keep_history = reader.text("ledger.keep_history", |text| match text {
        "forever" => Ok(None),
        text => match SpanParser::new().parse_unsigned_duration(text) {
            Ok(time) if time >= Duration::from_mins(1) => Ok(Some(time)),
            Ok(_) => Err(format!("{text:?} is out of range")),
            Err(_) => Err(format!("{text:?} is not a time")),
        },
    });
    Some(bookkeeper::Options { keep_inbox: keep_inbox?, keep_history: keep_history? })
}

fn rules(reader: &mut Reader) -> Option<Rules> {
    let parse = |text: &str| text.parse::<Steps>().map_err(|error| error.to_string());
    let steps = reader.redacted("ledger.transitions", parse, |steps, _| steps.to_string());
    let words = [
        ("dead-letter", UnknownAction::DeadLetter),
        ("ignore", UnknownAction::Ignore),
        ("record", UnknownAction::Record),
    ];
    let unknown = reader.choice("ledger.unknown_action", &words);
    Some(Rules { steps: steps?, unknown: unknown? })
}

/// How consumers read, the batch, and the window.
fn consumers(reader: &mut Reader) -> Option<(consumer::Options, usize, usize)> {
    let count = reader.whole("consumers.count");
    let batch = reader.whole("consumers.batch");
    let block = reader.time("consumers.block");
    let in_flight = reader.whole("consumers.in_flight");
    let (batch, in_flight) = (batch?, in_flight?);
    if in_flight < batch {
        let problem = format!("{in_flight} is less than consumers.batch = {batch}");
        reader.conflict("consumers.in_flight", "consumers.batch", problem, "at least consumers.batch");
    }
    Some((consumer::Options { count: count?, block: block? }, batch, in_flight))
}

fn reaper(reader: &mut Reader) -> Option<reaper::Options> {
    let interval = reader.time("reaper.interval");
    let claim_after = reader.time("reaper.claim_after");
    let batch = reader.whole("reaper.batch");
    Some(reaper::Options { interval: interval?, claim_after: claim_after?, batch: batch? })
}

fn trimmer(reader: &mut Reader) -> Option<trimmer::Options> {
    let interval = reader.time("trimmer.interval");
    let max_len = reader.whole("trimmer.max_len");
    let words = [("keep", trimmer::OnBlocked::Keep), ("trim", trimmer::OnBlocked::Trim)];
    let on_blocked = reader.choice("trimmer.on_blocked", &words);
    Some(trimmer::Options { interval: interval?, max_len: max_len?, on_blocked: on_blocked? })
}

fn retry(reader: &mut Reader) -> Option<RetryPolicy> {
    let max_failures = reader.whole("retry.max_failures");
    let max_crashes = reader.whole("retry.max_crashes");
    let delay_min = reader.time("retry.delay_min");
    let delay_max = reader.time("retry.delay_max");
    if let (Some(min), Some(max)) = (delay_min, delay_max)
        && min > max
    {
        let problem = "it is longer than retry.delay_max".to_owned();
        reader.conflict("retry.delay_min", "retry.delay_max", problem, "at most retry.delay_max");
    }
    Some(RetryPolicy {
        max_failures: max_failures?,
        max_crashes: max_crashes?,
        delay_min: delay_min?,
        delay_max: delay_max?,
    })
}

fn ledger(reader: &mut Reader) -> Option<Location> {
    let parse = |text: &str| text.parse::<Location>().map_err(|error| error.to_string());
    let location = reader.redacted("ledger.url", parse, |location, _| location.to_string());
    let password = reader.text("ledger.password_file", password::in_file);
    let asked = location.as_ref().is_none_or(|location| match location {
        Location::Postgres(address) => address.is_secure(),
        Location::Sqlite(_) => false,
    });
    let tls = tls::tls(reader, &tls::LEDGER, asked);
    let (location, password) = (location?, password?);
    if matches!(&location, Location::Postgres(address) if address.has_password()) {
        password::not_on_the_command_line(reader, "ledger.url", "ledger.password_file")?;
    }
    let problem = match (location, password) {
        (Location::Postgres(address), Some(_)) if address.has_password() => "there is a password in ledger.url as well",
        (Location::Sqlite(_), Some(_)) => "the ledger is an SQLite file, which has no password",
        (Location::Postgres(mut address), password) => {
            if let Some(password) = password {
                *address = address.with_password(&password);
            }
            if let Wanted::Tls(tls) = tls? {
                *address = address.with_tls(tls);
            }
            return Some(Location::Postgres(address));
        }
        (file @ Location::Sqlite(_), None) => return tls.map(|_| file),
    };
    reader.conflict(
        "ledger.password_file",
        "ledger.url",
        problem.to_owned(),
        "one password, and one for Postgres only",
    );
    None
}

fn notify(reader: &mut Reader) -> Option<NotifySettings> {
    let enabled = reader.switch("notify.enabled");
    let template = |text: &str| match text.parse::<Template>() {
        _ if text.chars().any(char::is_control) => Err("it has control characters".to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    };
    let channel = reader.text("notify.channel", template);
    let kind = reader.text("notify.type", template);
    let sse = reader.switch("notify.sse");
    if let (Some(true), Some(channel)) = (sse, &channel)
        && !channel.tells_user()
    {
        let problem = format!("a user cannot be told from a channel of {channel}");
        let allowed = "a channel with {userId} and no other place, or notify.sse = false";
        reader.conflict("notify.sse", "notify.channel", problem, allowed);
    }
    let form = Form { channel: channel?, kind: kind? };
    Some(NotifySettings { enabled: enabled?, form, sse: sse? })
}

fn admin(reader: &mut Reader, sse: bool) -> Option<admin::Options> {
    let listen = reader.text("admin.listen", |text| {
        text.parse::<SocketAddr>().map_err(|_| format!("{text:?} is not an address to listen on"))
    });
    let token = reader.text("admin.token_file", |text| match text {
        "" => Ok(None),
        path => token_in(Path::new(path)).map(Some),
    });
    let words = [("nothing", Open::Nothing), ("probes", Open::Probes), ("machines", Open::Machines)];
    let open = reader.choice("admin.open", &words);
    let options = admin::Options { listen: listen?, token: token?, open: open? };
    if options.token.is_none() && !options.listen.ip().is_loopback() {
        let beyond = format!("{} can be reached from other hosts", options.listen);
        if sse {
            let problem = format!("{beyond}, and without a token everybody could watch every user");
            let allowed = "a token in admin.token_file, or a loopback address in admin.listen";
            reader.conflict("notify.sse", "admin.listen", problem, allowed);
        } else if options.open == Open::Nothing {
            let allowed = "a token in admin.token_file, a word in admin.open, or a loopback address";
            reader.conflict("admin.listen", "admin.open", format!("{beyond}, and nothing is open to them"), allowed);
        }
    }
    Some(options)
}

fn token_in(path: &Path) -> Result<SecretString, String> {
    let token = password::read(path)?;
    let text = token.expose_secret();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if (16..=256).contains(&text.len()) && text.bytes().all(plain) {
        Ok(token)
    } else {
        Err(format!("{}: what stands there is no such token", path.display()))
    }
}

fn log(reader: &mut Reader) -> Option<logging::Options> {
    let level = reader.text("log.level", |text| {
        logging::parse_level(text).map(|_| text.to_owned()).map_err(|_| format!("{text:?} is not a level"))
    });
    let words = [("auto", Format::Auto), ("text", Format::Text), ("json", Format::Json)];
    let format = reader.choice("log.format", &words);
    Some(logging::Options { level: level?, format: format? })
}

/// Checks a name that goes to Redis as it is.
fn name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(format!("it has {} bytes", text.len()));
    }
    if text.chars().any(char::is_control) { Err("it has control characters".to_owned()) } else { Ok(()) }
}
