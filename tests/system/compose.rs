//! Replicas: the compose file as it is, scaled up and down under load.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

use super::harness::{repository, run};
use super::shop::{Engine, archive, wait_until};

const STREAM: &str = "orders:events";
const GROUP: &str = "order-processors";

/// The stack of deploy/compose.
struct Stack {
    engine: Engine,
}

impl Stack {
    fn new() -> Self {
        let engine = Engine::start();
        let folder = engine.folder.path();
        let archive = archive(folder);
        let import = |name: &str, changes: &[&str]| {
            let changes: Vec<&str> = changes.iter().flat_map(|change| ["--change", change]).collect();
            engine.run(&[&["import"], &changes[..], &[archive.to_str().unwrap(), name]].concat());
        };
        let stands_in = ["ENTRYPOINT [\"/entrypoint\"]"];
        import("redis:7.2", &[&stands_in[..], &["CMD [\"redis-server\"]"]].concat());
        import("postgres:16", &[&stands_in[..], &["CMD [\"postgres\"]"]].concat());
        let ours = ["ENTRYPOINT [\"/orderd\"]", "CMD [\"run\"]", "USER 65532:65532", "WORKDIR /var/lib/orderd"];
        import("orderd", &ours);

        fs::copy(repository("deploy/compose/docker-compose.yml"), folder.join("docker-compose.yml")).unwrap();
        let password = folder.join("ledger.password");
        fs::write(&password, format!("{:032x}\n", fastrand::u128(..))).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o400)).unwrap();
        chown(&password, Some(65532), Some(65532)).unwrap();
        Self { engine }
    }

    fn compose(&self, words: &[&str]) -> String {
        let mut command = Command::new("docker-compose");
        command.env("DOCKER_HOST", self.engine.host()).current_dir(self.engine.folder.path());
        run(command.args(["--project-name", "shop"]).args(words))
    }

    fn scale(&self, workers: usize) {
        self.compose(&["up", "--detach", "--no-recreate", "--scale", &format!("orderd={workers}")]);
    }

    /// The containers of a service.
    fn containers(&self, service: &str) -> Vec<String> {
        self.compose(&["ps", "--quiet", service]).lines().map(str::to_owned).collect()
    }

    fn wait_until_healthy(&self) {
        wait_until("every container is healthy", || {
            let all = ["redis", "postgres", "orderd"].iter().flat_map(|service| self.containers(service));
            let state = |id: String| self.engine.run(&["inspect", "--format", "{{.State.Health.Status}}", &id]);
            all.map(state).all(|state| state == "healthy")
        });
    }

    /// What a command says within the container of a service.
    fn within(&self, service: &str, words: &[&str]) -> String {
        let id = &self.containers(service)[0];
        self.engine.run(&[&["exec", id], words].concat())
    }

    fn redis(&self, words: &[&str]) -> String {
        self.within("redis", &[&["redis-cli"], words].concat())
    }

    /// Creates as many orders, all at once. An order has one event: between workers there is no sequence to be kept.
    fn add(&self, count: usize, name: &str) {
        let script = "for n = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'action', 'created', \
                      'orderId', ARGV[2] .. n, 'amount', '49.99', 'userId', 'u') end";
        self.redis(&["EVAL", script, "1", STREAM, &count.to_string(), name]);
    }

    fn pending(&self) -> usize {
        self.redis(&["XPENDING", STREAM, GROUP]).lines().next().and_then(|line| line.parse().ok()).unwrap_or(usize::MAX)
    }

    /// The names of the consumers that hold something.
    fn holders(&self) -> BTreeSet<String> {
        let said = self.redis(&["--json", "XINFO", "CONSUMERS", STREAM, GROUP]);
        let consumers: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
        let holds = consumers.iter().filter(|consumer| consumer["pending"] != 0);
        holds.map(|consumer| consumer["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What a container has settled.
    fn settled(&self, id: &str) -> f64 {
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = self.engine.run(&["inspect", "--format", address, id]);
        let ask = format!("exec 3<>/dev/tcp/{address}/9464; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        let page = self.within("redis", &["bash", "-c", &ask]);
        let values = page.lines().filter(|line| line.starts_with("orderd_events_settled_total{"));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// How many events the ledger holds, and how many different ones.
    fn ledger(&self) -> (usize, usize) {
        let query = "SELECT count(*), count(DISTINCT entry_id) FROM orderd.order_events";
        let ask = format!(
            "PGPASSWORD=$(cat /run/secrets/ledger-password) psql -h 127.0.0.1 -U orderd -d orders -tAF' ' -c '{query}'"
        );
        let said = self.within("postgres", &["sh", "-c", &ask]);
        let (all, different) = said.split_once(' ').expect("two numbers");
        (all.parse().unwrap(), different.parse().unwrap())
    }

    fn wait_until_settled(&self) {
        wait_until("everything is settled", || {
            let delivered = self.redis(&["--json", "XINFO", "GROUPS", STREAM]);
            let groups: Vec<serde_json::Value> = serde_json::from_str(&delivered).unwrap();
            groups.iter().any(|group| group["lag"] == 0) && self.pending() == 0
        });
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the containers\n{}", self.compose(&["logs", "--no-color", "--tail", "15"]));
        }
        self.compose(&["down", "--volumes", "--timeout", "40"]);
    }
}

#[test]
fn four_workers_share_the_work_and_going_down_to_one_loses_nothing_and_waits_for_nothing() {
    let stack = Stack::new();
    stack.scale(4);
    stack.wait_until_healthy();
    let workers = stack.containers("orderd");
    assert_eq!(workers.len(), 4);
    let names = stack.redis(&["--scan", "--pattern", "{orders:events}:instance:*"]);
    assert_eq!(names.lines().collect::<BTreeSet<_>>().len(), 4, "each has a name of its own: {names}");

    stack.add(20_000, "first-");
    stack.wait_until_settled();
    let shares: Vec<f64> = workers.iter().map(|id| stack.settled(id)).collect();
    assert!(shares.iter().all(|share| *share > 0.0), "all four work: {shares:?}");

    // Down to one, with work in everybody's hand.
    stack.add(20_000, "second-");
    stack.scale(1);
    let left = stack.containers("orderd");
    assert_eq!(left.len(), 1);
    // What the others handed back is taken up at once, not after reaper.claim_after.
    let since = std::time::Instant::now();
    wait_until("only the one that is left holds anything", || {
        stack.holders().iter().all(|name| left[0].starts_with(name.split('-').next().unwrap()))
    });
    assert!(since.elapsed().as_secs() < 45, "it waited: {:?}", since.elapsed());
    stack.wait_until_settled();
    let dead: usize = stack.redis(&["XLEN", "{orders:events}:dead"]).parse().unwrap();
    let (all, different) = stack.ledger();
    assert_eq!((all + dead, different), (40_000, all), "each once");
    assert_eq!(dead, 0, "and none given up");
}
