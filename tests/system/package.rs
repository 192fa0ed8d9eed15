//! The Debian package, in a booted machine: from its installation to its removal, with a whole life of the service in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::guest::Guest;
use super::harness::{repository, run, wait_until};

const SECRET: &str = "canary-of-redis";
const CONFIG: &str = "/etc/orderd/orderd.toml";

/// A machine with a Redis that wants a password, and two versions of the package.
struct Host {
    guest: Guest,
    added: usize,
}

fn pack(version: &str, folder: &Path) -> PathBuf {
    let mut script = Command::new(repository("scripts/deb.sh"));
    let made = run(script.arg(env!("CARGO_BIN_EXE_orderd")).arg(folder).arg(version));
    PathBuf::from(made.trim())
}

impl Host {
    fn new() -> Self {
        let guest = Guest::boot(|root| {
            fs::create_dir(root.join("packages")).unwrap();
            for version in ["1.0.0", "1.1.0"] {
                let made = pack(version, &root.join("packages"));
                fs::rename(made, root.join(format!("packages/{version}.deb"))).unwrap();
            }
            let redis = root.join("etc/redis/redis.conf");
            let text = fs::read_to_string(&redis).unwrap();
            fs::write(&redis, format!("{text}\nrequirepass {SECRET}\nappendonly yes\n")).unwrap();
        });
        wait_until("Redis is there", || guest.try_run(&["redis-cli", "PING"]).contains("NOAUTH"));
        guest.run(&[
            "sh",
            "-c",
            &format!("umask 077; mkdir -p /etc/credstore; echo {SECRET} >/etc/credstore/orderd.redis-password"),
        ]);
        Self { guest, added: 0 }
    }

    /// A property of the service.
    fn show(&self, property: &str) -> String {
        let shown = self.guest.run(&["systemctl", "show", "orderd", "--property", property, "--value"]);
        shown.trim().to_owned()
    }

    fn pid(&self) -> String {
        self.show("MainPID")
    }

    fn wait_until_active_again_after(&self, pid: &str) {
        wait_until("another process is ready", || {
            // In this order: before the old one is gone, it is active as well.
            let now = self.pid();
            now != pid && now != "0" && self.show("ActiveState") == "active"
        });
    }

    fn journal(&self) -> String {
        self.guest.run(&["journalctl", "-u", "orderd", "-o", "cat", "--no-pager"])
    }

    fn add(&mut self, count: usize) {
        let password = "ORDERD__REDIS__PASSWORD_FILE=/etc/credstore/orderd.redis-password";
        let (count_text, seed) = (count.to_string(), format!("{}", self.added));
        self.guest.run(&["env", password, "orderd", "add", "--count", &count_text, "--seed", &seed]);
        self.added += count;
    }

    /// How many events the ledger holds, and how many different entries they came from.
    fn applied(&self) -> (usize, usize) {
        let ledger = self.guest.path("/var/lib/private/orderd/orderd.db");
        let connection = rusqlite::Connection::open(ledger).unwrap();
        let query = "SELECT count(*), count(DISTINCT entry_id) FROM order_events";
        let count =
            |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(|count| usize::try_from(count).unwrap());
        connection.query_row(query, [], |row| Ok((count(row, 0)?, count(row, 1)?))).unwrap()
    }

    fn pending(&self) -> String {
        let words = ["redis-cli", "--no-auth-warning", "-a", SECRET, "XPENDING", "orders:events", "order-processors"];
        self.guest.run(&words).lines().next().unwrap_or_default().to_owned()
    }

    /// Everything that was added is in the ledger, once, or among the dead letters, and nothing is pending.
    fn wait_until_all_is_settled(&self) {
        wait_until("everything that was added is settled", || {
            let words = ["redis-cli", "--no-auth-warning", "-a", SECRET, "XLEN", "{orders:events}:dead"];
            let dead: usize = self.guest.run(&words).trim().parse().unwrap();
            self.pending() == "0" && self.applied().0 + dead == self.added
        });
        let (applied, entries) = self.applied();
        assert_eq!(applied, entries, "each once");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.guest.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn configure(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.guest.path(CONFIG)).unwrap();
        self.write(CONFIG, &change(text));
    }

    fn install(&self, version: &str) -> String {
        self.guest.run(&["dpkg", "-i", &format!("/packages/{version}.deb")])
    }
}

#[test]
fn a_service_is_installed_works_reloads_survives_a_kill_and_a_hang_is_upgraded_and_removed() {
    let mut host = Host::new();
    installed_and_enabled_and_not_started(&host);
    started_and_at_work(&mut host);
    reloaded(&host);
    killed(&mut host);
    hung(&mut host);
    misconfigured(&host);
    upgraded(&mut host);
    stopped_under_load(&mut host);
    the_journal_is_readable_and_holds_no_secret(&host);
    removed_and_purged(&host);
}

fn installed_and_enabled_and_not_started(host: &Host) {
    let said = host.install("1.0.0");
    assert!(said.contains("systemctl start orderd"), "{said}");
    assert_eq!(host.guest.run(&["systemctl", "is-enabled", "orderd"]).trim(), "enabled");
    assert_eq!(host.show("ActiveState"), "inactive");
}

fn started_and_at_work(host: &mut Host) {
    // Short, so that the test need not wait long; long enough for a busy machine.
    host.write("/etc/systemd/system/orderd.service.d/watchdog.conf", "[Service]\nWatchdogSec=5s\n");
    host.guest.run(&["systemctl", "daemon-reload"]);
    host.guest.run(&["systemctl", "start", "orderd"]);
    assert_eq!((host.show("ActiveState"), host.show("SubState")), ("active".to_owned(), "running".to_owned()));
    assert_eq!(host.guest.run(&["orderd", "health"]), "ready\n");
    host.add(500);
    host.wait_until_all_is_settled();
    wait_until("the status line has rate and backlog", || {
        let status = host.show("StatusText");
        status.starts_with("running: ") && status.contains(" events/s, ") && status.contains(" pending")
    });
    // A user of its own, who is not root, and whose ledger nobody else reads.
    let user = host.guest.run(&["ps", "-o", "user=", "-p", &host.pid()]);
    assert!(
        user.trim() == "orderd" || user.trim().parse::<u32>().is_ok_and(|id| (61184..=65519).contains(&id)),
        "{user}"
    );
    assert_eq!(host.guest.run(&["stat", "-c", "%a", "/var/lib/private/orderd/orderd.db"]).trim(), "600");
}

fn reloaded(host: &Host) {
    let pid = host.pid();
    host.configure(|text| {
        text.replace("\nmax_len = 10000\n", "\nmax_len = 20000\n").replace("\ncount = 64\n", "\ncount = 32\n")
    });
    host.guest.run(&["systemctl", "reload", "orderd"]);
    wait_until("it has said what came of it", || host.journal().contains("at the next start"));
    let journal = host.journal();
    assert!(
        journal.contains("\"keys\":\"trimmer.max_len\"") && journal.contains("\"keys\":\"lanes.count\""),
        "{journal}"
    );
    wait_until("it is active again", || host.show("ActiveState") == "active");
    assert_eq!(host.pid(), pid);
}

fn killed(host: &mut Host) {
    let pid = host.pid();
    host.add(2_000);
    host.guest.run(&["kill", "-9", &pid]);
    host.wait_until_active_again_after(&pid);
    assert_eq!(host.show("NRestarts"), "1");
    host.wait_until_all_is_settled();
}

fn hung(host: &mut Host) {
    let pid = host.pid();
    host.guest.run(&["kill", "-STOP", &pid]);
    host.add(200);
    host.wait_until_active_again_after(&pid);
    assert_eq!(host.show("NRestarts"), "2");
    assert!(host.journal().contains("Watchdog timeout"), "{}", host.journal());
    host.wait_until_all_is_settled();
}

fn misconfigured(host: &Host) {
    let right = fs::read_to_string(host.guest.path(CONFIG)).unwrap();
    host.configure(|text| text.replace("\ncount = 32\n", "\ncuont = 32\n"));
    let restart = host.guest.command(&["systemctl", "restart", "orderd"]).output().unwrap();
    assert!(!restart.status.success());
    assert_eq!((host.show("ActiveState"), host.show("ExecMainStatus")), ("failed".to_owned(), "78".to_owned()));
    assert!(host.journal().contains("did you mean lanes.count?"), "{}", host.journal());
    assert_eq!(host.show("NRestarts"), "0", "a start by hand counts anew, and none followed by itself");
    host.write(CONFIG, &right);
    host.guest.run(&["systemctl", "start", "orderd"]);
}

fn upgraded(host: &mut Host) {
    let (pid, ours) = (host.pid(), fs::read_to_string(host.guest.path(CONFIG)).unwrap());
    host.install("1.1.0");
    assert!(host.guest.run(&["dpkg", "-s", "orderd"]).contains("Version: 1.1.0\n"));
    host.wait_until_active_again_after(&pid);
    assert_eq!(fs::read_to_string(host.guest.path(CONFIG)).unwrap(), ours, "what the operator wrote stays");
    host.add(200);
    host.wait_until_all_is_settled();
}

fn stopped_under_load(host: &mut Host) {
    host.add(20_000);
    host.guest.run(&["systemctl", "stop", "orderd"]);
    assert_eq!((host.show("Result"), host.show("ExecMainStatus")), ("success".to_owned(), "0".to_owned()));
    host.guest.run(&["systemctl", "start", "orderd"]);
    host.wait_until_all_is_settled();
}

fn the_journal_is_readable_and_holds_no_secret(host: &Host) {
    let journal = host.journal();
    assert!(!journal.contains(SECRET));
    let ours: Vec<&str> = journal.lines().filter(|line| line.starts_with('{')).collect();
    assert!(ours.len() > 20, "{journal}");
    for line in ours {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let environment = host.guest.run(&["cat", &format!("/proc/{}/environ", host.pid())]);
    let arguments = host.guest.run(&["cat", &format!("/proc/{}/cmdline", host.pid())]);
    assert!(!environment.contains(SECRET) && !arguments.contains(SECRET));
}

fn removed_and_purged(host: &Host) {
    host.guest.run(&["dpkg", "-r", "orderd"]);
    assert_eq!(host.show("ActiveState"), "inactive");
    assert_eq!(host.show("LoadState"), "masked", "so that nothing starts what is not there");
    assert!(!host.guest.path("/usr/bin/orderd").exists() && host.guest.path(CONFIG).exists());

    let said = host.guest.run(&["dpkg", "-P", "orderd"]);
    assert!(said.contains("the orders stay in /var/lib/private/orderd"), "{said}");
    assert_eq!(host.show("LoadState"), "not-found");
    for gone in ["/etc/orderd", "/etc/systemd/system/orderd.service.d", "/usr/share/doc/orderd"] {
        assert!(!host.guest.path(gone).exists(), "{gone}");
    }
    let left = host.guest.run(&["find", "/etc", "/lib/systemd", "/var/lib/systemd", "-name", "orderd*"]);
    assert_eq!(left.trim(), "/etc/credstore/orderd.redis-password", "what the operator put there alone");
    assert_eq!(host.applied().0, host.applied().1);
}
