//! The page that shows orders as they change, in a real browser.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{DEADLINE, World, wait_until};

/// What it is called, here or there.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A headless Chromium with one page, spoken to over its debugging pipe. Dropped, it is killed.
struct Chromium {
    child: Child,
    to: File,
    answers: mpsc::Receiver<Value>,
    number: u64,
    session: Option<String>,
    _folder: TempDir,
}

impl Chromium {
    fn open(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipes = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args(&pipes).status().unwrap().success());
        // It speaks over the descriptors 3 and 4. The sandbox cannot be had inside of most containers.
        let script = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --user-data-dir=\"$3\" --remote-debugging-pipe 3<\"$1\" 4>\"$2\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(program()).args(&pipes).arg(folder.path().join("profile"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let to = File::options().write(true).open(&pipes[0]).unwrap();
        let from = BufReader::new(File::open(&pipes[1]).unwrap());
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let messages = from.split(0).map_while(Result::ok);
            messages.map_while(|message| serde_json::from_slice(&message).ok()).try_for_each(|value| sender.send(value))
        });
        let mut chromium = Self { child, to, answers, number: 0, session: None, _folder: folder };
        let target = chromium.call("Target.createTarget", &json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = chromium.call("Target.attachToTarget", &attach);
        chromium.session = session["sessionId"].as_str().map(str::to_owned);
        chromium
    }

    /// The value of an expression in the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        answer["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.number += 1;
        let mut call = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        write!(self.to, "{call}\0").unwrap();
        loop {
            let answer = self.answers.recv_timeout(DEADLINE).expect("an answer of the browser");
            if answer["id"] == self.number {
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&folders).flat_map(|folder| PROGRAMS.map(|name| folder.join(name)));
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("none of {PROGRAMS:?} is here; on Debian, make test installs the first"))
}

#[test]
fn the_page_shows_an_orders_progress_as_it_happens_and_what_was_missed() {
    let world = World::new();
    let daemon = world.daemon("w", &[("notify.enabled", "true"), ("notify.sse", "true")]);
    daemon.wait_until_ready();
    let mut chromium = Chromium::open(&format!("http://{}/#u", daemon.admin()));
    let said = "document.getElementById('word').textContent";
    wait_until("the page watches", || chromium.evaluate(said) == "Watching u. Nothing has happened yet.");
    let add = |action: &str| world.add(&[("action", action), ("orderId", "<b>7"), ("amount", "9.50"), ("userId", "u")]);
    let row = "[...document.querySelectorAll('#orders > li')].map(card => [card.querySelector('b').textContent, \
        card.dataset.state, card.querySelectorAll('.done').length, card.dataset.version].join(' ')).join('; ')";
    add("created");
    wait_until("it is created", || chromium.evaluate(row) == "<b>7 created 1 1");
    add("paid");
    wait_until("it is paid", || chromium.evaluate(row) == "<b>7 paid 2 2");

    let mut redis = world.redis();
    redis::cmd("ACL").arg("SETUSER").arg("default").arg("-psubscribe").query::<()>(&mut redis).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query::<u64>(&mut redis).unwrap();
    add("shipped");
    world.wait_until_drained();
    redis::cmd("ACL").arg("SETUSER").arg("default").arg("+psubscribe").query::<()>(&mut redis).unwrap();
    wait_until("it is shipped, though nobody heard it", || chromium.evaluate(row) == "<b>7 shipped 3 3");
    add("refunded");
    wait_until("it is refunded, and how far it came still shows", || chromium.evaluate(row) == "<b>7 refunded 3 4");
    assert_eq!(chromium.evaluate("document.querySelector('#orders > li').className"), "bad fresh");

    // Who comes later sees what was before.
    chromium.evaluate("location.reload()");
    wait_until("it is all there again", || chromium.evaluate(row) == "<b>7 refunded 3 4");
    wait_until("it watches again", || chromium.evaluate(said) == "Watching u.");
}
