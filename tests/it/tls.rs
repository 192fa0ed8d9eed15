//! TLS to Redis, with a real server that speaks it.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use orderd::cli::sandbox::{Options, PrivateServer, SandboxError};
use rustix::process::{Pid, Signal, kill_process};

use super::harness::certificates::{Authority, Identity};
use super::harness::{World, wait_for, wait_until};

/// A world whose server speaks TLS, at this port, and nothing else but its socket.
struct Secure {
    world: World,
    port: u16,
}

impl Secure {
    /// `clients`: the authority for the certificates that clients have to show; `None`: they need none.
    fn start(identity: &Identity, clients: Option<&Authority>) -> Self {
        loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).unwrap().port();
            let mut args: Vec<OsString> = vec!["--tls-port".into(), port.to_string().into()];
            args.extend(["--tls-cert-file".into(), identity.certificate.clone().into_os_string()]);
            args.extend(["--tls-key-file".into(), identity.key.clone().into_os_string()]);
            match clients {
                Some(authority) => args.extend(["--tls-ca-cert-file".into(), authority.file().into_os_string()]),
                None => args.extend(["--tls-auth-clients".into(), "no".into()]),
            }
            match PrivateServer::start(Options { args, ..Options::default() }) {
                Ok(server) => return Self { world: World::on(server), port },
                // Somebody was faster.
                Err(SandboxError::Ended { log, .. }) if log.contains("Address already in use") => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn url(&self, host: &str) -> String {
        format!("rediss://{host}:{}", self.port)
    }

    /// What `orderd check` says of the server, and its exit code.
    fn check(&self, host: &str, settings: &[(&str, &Path)]) -> (i32, String) {
        check(&self.world, &self.url(host), settings)
    }
}

fn check(world: &World, url: &str, settings: &[(&str, &Path)]) -> (i32, String) {
    let settings: Vec<String> = settings.iter().map(|(key, file)| format!("{key}={}", file.display())).collect();
    let mut args = vec!["check", "--redis", url];
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    let output = world.orderd(&args);
    let line = output.out.lines().find(|line| line.split_whitespace().nth(1) == Some("redis"));
    (output.code, line.map_or(output.err, str::to_owned))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_worker_lives_over_tls_with_certificates_on_both_sides_and_comes_back_after_the_server() {
    let authority = Authority::new();
    let ours = authority.sign(&["worker"]);
    let mut secure = Secure::start(&authority.sign(&["localhost"]), Some(&authority));
    let (url, ca) = (secure.url("localhost"), authority.file());
    let settings = [
        ("redis.url", url.as_str()),
        ("redis.tls_ca_file", text(&ca)),
        ("redis.tls_cert_file", text(&ours.certificate)),
        ("redis.tls_key_file", text(&ours.key)),
        ("notify.enabled", "true"),
    ];
    secure.world.add_many(200, 50);
    let mut daemon = secure.world.daemon("worker", &settings);
    secure.world.wait_until_drained();
    // Readers, the shared connection and the publisher.
    wait_until("every kind of connection is there", || {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut secure.world.redis()).expect("CLIENT LIST");
        let ours = || clients.lines().filter(|client| client.contains("name=orderd:"));
        // What comes through the socket would be the test's.
        assert!(ours().all(|client| client.contains("laddr=127.0.0.1:")), "{clients}");
        ["commands", "publisher", "reader"].iter().all(|role| ours().any(|client| client.contains(role)))
    });

    secure.world.server.kill9().expect("kill");
    secure.world.server.restart().expect("a restart");
    secure.world.add_many_of("later", 100, 50);
    secure.world.wait_until_drained();
    let (status, _) = daemon.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_subscriber_listens_over_tls() {
    let authority = Authority::new();
    let secure = Secure::start(&authority.sign(&["127.0.0.1"]), None);
    let (url, ca) = (secure.url("127.0.0.1"), format!("redis.tls_ca_file={}", authority.file().display()));
    let arguments = ["listen", "--redis", &url, "--set", &ca, "news"];
    let printed = secure.world.path("printed");
    let mut command = secure.world.command(&arguments);
    let mut listening = command.stdout(File::create(&printed).expect("a file")).spawn().expect("orderd runs");
    wait_until("it is heard", || {
        let heard: u64 =
            redis::cmd("PUBLISH").arg(("news", "hello")).query(&mut secure.world.redis()).expect("PUBLISH");
        heard == 1
    });
    wait_until("it is printed", || std::fs::read_to_string(&printed).expect("the file").contains("hello"));
    kill_process(Pid::from_child(&listening), Signal::TERM).expect("it is there");
    assert!(wait_for("it to end", || listening.try_wait().expect("wait")).success());
}

#[test]
fn whom_we_do_not_know_we_do_not_speak_with_and_the_reason_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, others) = (authority.file(), other.file());
    let secure = Secure::start(&authority.sign(&["localhost"]), None);

    assert_eq!(secure.check("localhost", &[("redis.tls_ca_file", &ca)]).0, 0);
    let (code, said) = secure.check("localhost", &[("redis.tls_ca_file", &others)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("its certificate comes from no authority that is trusted here"), "{said}");
    // What the host trusts.
    let (code, said) = secure.check("localhost", &[]);
    assert!(code != 0 && (said.contains("no authority that is trusted here") || said.contains("no list of")), "{said}");
    let (code, said) = secure.check("127.0.0.1", &[("redis.tls_ca_file", &ca)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("its certificate is not for 127.0.0.1, but for localhost"), "{said}");

    let expired = Secure::start(&authority.sign_expired(&["localhost"]), None);
    let (code, said) = expired.check("localhost", &[("redis.tls_ca_file", &ca)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("its certificate has expired at 2020-02-29T"), "{said}");
}

#[test]
fn a_server_that_wants_to_know_us_and_does_not_is_understood() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, stranger) = (authority.file(), other.sign(&["worker"]));
    let secure = Secure::start(&authority.sign(&["localhost"]), Some(&authority));
    let (code, said) = secure.check("localhost", &[("redis.tls_ca_file", &ca)]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("it wants a certificate of us, and none is set"), "{said}");

    let show = |identity: &Identity| {
        let Identity { certificate, key } = identity.clone();
        let files = [("redis.tls_ca_file", &*ca), ("redis.tls_cert_file", &certificate), ("redis.tls_key_file", &key)];
        secure.check("localhost", &files)
    };
    let (code, said) = show(&stranger);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("our certificate comes from no authority that the server trusts"), "{said}");
    let (code, said) = show(&authority.sign_expired(&["worker"]));
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("our certificate has expired"), "{said}");
}

#[test]
fn a_port_without_tls_is_understood() {
    let authority = Authority::new();
    let plain = World::with(Options { tcp: true, ..Options::default() });
    let url = format!("rediss://localhost:{}", plain.server.port().expect("a port"));
    let (code, said) = check(&plain, &url, &[("redis.tls_ca_file", &authority.file())]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("TLS: ") && said.contains("is this the port for it?"), "{said}");
}

#[test]
fn files_that_are_missing_or_do_not_go_together_are_mistakes_of_the_configuration() {
    let authority = Authority::new();
    let (ca, one, two) = (authority.file(), authority.sign(&["one"]), authority.sign(&["two"]));
    let nothing = authority.folder().join("nothing.pem");
    std::fs::write(&nothing, "not a certificate").expect("a file");
    let world = World::new();
    let mistakes = |url: &str, settings: &[(&str, &Path)]| {
        let (code, said) = check(&world, url, settings);
        assert_eq!(code, 78, "{said}");
        said
    };
    let secure = "rediss://localhost";
    let said = mistakes(secure, &[("redis.tls_ca_file", Path::new("/nowhere/ca.pem"))]);
    assert!(said.contains("redis.tls_ca_file: /nowhere/ca.pem: cannot be read: No such file"), "{said}");
    let said = mistakes(secure, &[("redis.tls_ca_file", &nothing)]);
    assert!(said.contains("there is no certificate in PEM form in it"), "{said}");
    let keyless =
        [("redis.tls_ca_file", &*ca), ("redis.tls_cert_file", &one.certificate), ("redis.tls_key_file", &nothing)];
    assert!(mistakes(secure, &keyless).contains("there is no private key in PEM form in it"));
    let said = mistakes(secure, &[("redis.tls_ca_file", &ca), ("redis.tls_cert_file", &one.certificate)]);
    assert!(said.contains("redis.tls_cert_file: redis.tls_key_file is not set"), "{said}");
    let crossed =
        [("redis.tls_ca_file", &*ca), ("redis.tls_cert_file", &one.certificate), ("redis.tls_key_file", &two.key)];
    assert!(mistakes(secure, &crossed).contains("redis.tls_key_file: the key does not belong to the certificate"));
    let said = mistakes("redis://localhost", &[("redis.tls_ca_file", &ca)]);
    assert!(said.contains("redis.tls_ca_file: TLS is not spoken there"), "{said}");
    assert!(said.contains("an address that begins with rediss://"), "{said}");
}
