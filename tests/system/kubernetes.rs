//! The files for Kubernetes: held against the schemas, and the Deployment really run, by podman.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::{as_root, repository, run};
use super::shop::{archive, wait_until};

const TOOLS: &str = "target/system-tools";
const IMAGE: &str = "docker.io/library/orderd:0.1.0";

/// All objects, as they would be sent.
fn rendered() -> String {
    run(Command::new("kubectl").arg("kustomize").arg(repository("deploy/kubernetes")))
}

/// The objects of one kind.
fn of_kind(objects: &str, kind: &str) -> String {
    let found: Vec<&str> =
        objects.split("\n---\n").filter(|object| object.lines().any(|line| line == format!("kind: {kind}"))).collect();
    assert!(!found.is_empty(), "no {kind}");
    found.join("\n---\n")
}

/// Whether all of them are right; what judges them is fetched by scripts/system-tools.sh.
fn judge(objects: &str, folder: &Path) -> bool {
    let file = folder.join("objects.yaml");
    fs::write(&file, objects).unwrap();
    let tools = repository(TOOLS);
    let script = tools.join("judge.mjs");
    fs::copy(repository("tests/system/judge.mjs"), &script).unwrap();
    let judged = Command::new("node").arg(&script).arg(&file).output().expect("node runs");
    let extended = judged.status.success();

    let plain: String =
        ["ConfigMap", "Secret", "Deployment", "PodDisruptionBudget"].map(|kind| of_kind(objects, kind)).join("\n---\n");
    fs::write(&file, plain).unwrap();
    let mut validate = Command::new("python3");
    validate.env("PYTHONPATH", tools.join("python")).args(["-m", "kubernetes_validate", "--strict"]).arg(&file);
    extended && validate.output().expect("python3 runs").status.success()
}

#[test]
fn every_object_is_as_the_schemas_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let objects = rendered();
    assert!(judge(&objects, folder.path()), "{objects}");
    // What judges can say no.
    for (right, wrong) in [
        ("minReplicaCount: 1", "minReplicaCount: one"),
        ("readinessProbe:", "readynessProbe:"),
        ("port: admin", "prt: admin"),
    ] {
        assert!(objects.contains(right), "{right}");
        assert!(!judge(&objects.replacen(right, wrong, 1), folder.path()), "{wrong}");
    }
}

#[test]
fn the_deployment_meets_the_restricted_profile() {
    let deployment = of_kind(&rendered(), "Deployment");
    for wanted in [
        "runAsNonRoot: true",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "type: RuntimeDefault",
        "- ALL",
        "automountServiceAccountToken: false",
    ] {
        assert!(deployment.contains(wanted), "{wanted}");
    }
}

/// podman with folders of its own, all in one network namespace, which goes with the process that holds it.
struct Podman {
    namespace: std::process::Child,
    folder: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        as_root();
        let folder = tempfile::Builder::new().prefix("orderd-pods-").tempdir_in("/var/tmp").unwrap();
        // What a machine with its control groups in the old place needs, too.
        let config = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
                      [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(folder.path().join("containers.conf"), config).unwrap();
        let hold = ["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"];
        let mut command = Command::new("unshare");
        let piped = std::process::Stdio::piped;
        let mut namespace = command.args(hold).stdin(piped()).stdout(piped()).spawn().expect("unshare runs");
        let mut up = [0; 3];
        std::io::Read::read_exact(namespace.stdout.as_mut().unwrap(), &mut up).unwrap();
        Self { namespace, folder }
    }

    /// A command within the namespace.
    fn within(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.namespace.id().to_string(), "--net", program]);
        command.env("CONTAINERS_CONF", self.folder.path().join("containers.conf"));
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.within("podman");
        for (option, folder) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.folder.path().join(folder));
        }
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).trim().to_owned()
    }

    fn redis(&self, words: &[&str]) -> String {
        run(self.within("redis-cli").args(words)).trim().to_owned()
    }

    /// Redis with the delivered users, and Postgres, as the Deployment expects them.
    fn start_servers(&self, archive: &Path) {
        let import = |name: &str| {
            let stands_in = "ENTRYPOINT [\"/entrypoint\"]";
            self.run(&["import", "--quiet", "--change", stands_in, archive.to_str().unwrap(), name]);
        };
        import("docker.io/library/shop:1");
        let ours = "ENTRYPOINT [\"/orderd\"]";
        self.run(&["import", "--quiet", "--change", ours, archive.to_str().unwrap(), IMAGE]);

        let users = fs::read_to_string(repository("deploy/redis/users-7.0.acl")).unwrap();
        let users = users.replace("user default off", "user default on nopass ~* &* +@all");
        let users = users.replace("user orderd-worker on", "user orderd-worker on >secret-of-redis");
        let file = |name: &str, text: &str| {
            fs::write(self.folder.path().join(name), text).unwrap();
            format!("{}:/run/secrets/{name}:ro", self.folder.path().join(name).display())
        };
        let users = file("users.acl", &users);
        let start = ["run", "--detach", "--network", "host", "--volume"];
        let redis =
            ["docker.io/library/shop:1", "redis-server", "--aclfile", "/run/secrets/users.acl", "--appendonly", "yes"];
        self.run(&[&start[..], &[&users], &redis].concat());
        let password = file("ledger-password", "secret-of-postgres");
        let variables =
            ["POSTGRES_USER=orderd", "POSTGRES_DB=orders", "POSTGRES_PASSWORD_FILE=/run/secrets/ledger-password"];
        let variables: Vec<&str> = variables.iter().flat_map(|variable| ["--env", variable]).collect();
        self.run(&[&start[..], &[&password], &variables, &["docker.io/library/shop:1", "postgres"]].concat());
        wait_until("Redis answers", || self.within("redis-cli").arg("ping").output().unwrap().status.success());
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.command(&["logs", "orderd-pod-0-orderd"]).output();
            eprintln!("--- log of the worker\n{output:?}");
        }
        let _ = self.command(&["rm", "--all", "--force", "--time", "2"]).output();
        let _ = self.command(&["pod", "rm", "--all", "--force"]).output();
        let _ = self.command(&["rmi", "--all", "--force"]).output();
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

/// The Deployment and its configuration as podman takes them: no probes and no port names, an image that is here already, and servers at
/// this machine's own address.
fn for_podman() -> String {
    let objects = rendered();
    let config = of_kind(&objects, "ConfigMap");
    let config =
        config.replace("@redis.orders.svc:6379", "@127.0.0.1:6379").replace("@postgres.orders.svc/", "@127.0.0.1/");
    let mut deployment = Vec::new();
    let mut leaving_out = false;
    for line in of_kind(&objects, "Deployment").lines() {
        let of_container = line.starts_with("        ") && !line.starts_with("         ");
        let name = line.trim().trim_end_matches(':');
        if of_container && !line.trim_start().starts_with("- ") {
            leaving_out = ["livenessProbe", "readinessProbe", "startupProbe", "ports"].contains(&name);
        } else if !line.starts_with("        ") {
            leaving_out = false;
        }
        if !leaving_out {
            deployment.push(line.to_owned());
        }
        if line.trim_start().starts_with("image: ") {
            deployment.push("        imagePullPolicy: Never".to_owned());
        }
    }
    format!("{config}\n---\n{}\n", deployment.join("\n").replace("replicas: 2", "replicas: 1"))
}

#[test]
fn the_deployment_runs_as_it_is_works_with_the_delivered_rights_and_stops_in_good_order() {
    let podman = Podman::new();
    podman.start_servers(&archive(podman.folder.path()));
    // A secret, as podman wants it: what stands there is not decoded.
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: orderd\ndata:\n  redis-password: secret-of-redis\n  \
                  ledger-password: secret-of-postgres\n";
    let file = |name: &str, text: &str| {
        let path = podman.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    podman.run(&["secret", "create", "orderd", &file("secret.yaml", secret)]);
    let objects = file("objects.yaml", &for_podman());
    podman.run(&["play", "kube", "--network", "host", "--no-hosts", &objects]);

    let ask = |path: &str| {
        let ask = format!("exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
        let output = podman.within("bash").args(["-c", &ask]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    wait_until("it is ready", || ask("/readyz").starts_with("HTTP/1.0 200"));
    assert!(ask("/livez").starts_with("HTTP/1.0 200"));
    assert!(ask("/metrics").contains("orderd_redis_up 1"));
    run(podman.within(env!("CARGO_BIN_EXE_orderd")).current_dir(podman.folder.path()).args(["add", "--count", "1000"]));
    wait_until("everything is settled", || {
        ask("/metrics").contains("orderd_events_settled_total{outcome=\"applied\"} 1000")
    });
    let container = "orderd-pod-0-orderd";
    let how = podman.run(&[
        "inspect",
        "--format",
        "{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.EffectiveCaps}}",
        container,
    ]);
    assert_eq!(how, "true 65532:65532 []");
    podman.run(&["stop", "--time", "40", container]);
    assert_eq!(podman.run(&["inspect", "--format", "{{.State.ExitCode}}", container]), "0");
    assert_eq!(podman.redis(&["ACL", "LOG"]), "", "it was refused nothing");
}
