//! The configurations that are shipped do what they say: each is served as it is, but for the names of the
//! interface, the addresses and the directories of whoever tries it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use pagewire_tools::lab::{INTERFACE, Lab, LabConfig, SERVER, Side, privileged};

use crate::process::Process;

/// An example of this repository, changed where a lab is different from its world.
struct Example {
    directory: tempfile::TempDir,
    file: PathBuf,
}

impl Example {
    fn new(name: &str, changes: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let mut text = fs::read_to_string(path).unwrap();
        let here = directory.path().to_str().unwrap().to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{name} has no {from}");
            text = text.replace(from, &to.replace("{dir}", &here));
        }
        let file = directory.path().join(name);
        fs::write(&file, text).unwrap();
        for path in ["www/page", "static/assets/a.css", "downloads/releases/1.iso"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content\n").unwrap();
        }
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(directory.path(), everybody).unwrap();
        Self { directory, file }
    }

    fn serve(&self, lab: &Lab) -> Process {
        let arguments = ["serve", "--config", self.file.to_str().unwrap()];
        Process::run(lab, arguments, self.directory.path().join("log"))
    }
}

/// The head and the body that the client gets.
fn curl(lab: &Lab, words: &[&str]) -> String {
    let mut command = lab.command(Side::Client, "curl");
    command.args(["--silent", "--include", "--max-time", "5"]).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().to_lowercase()
}

const IN_LAB: [(&str, &str); 1] = [("\"eth1\"", "\"pw0\"")];

#[test]
fn the_laptop_serves_here_with_a_listing_and_a_line_for_each_request() {
    let example = Example::new(
        "laptop.toml",
        &[
            ("root = \".\"", "root = \"{dir}/www\""),
            ("127.0.0.1:8080", "127.0.0.1:0"),
            (", \"[::1]:8080\"", ""),
        ],
    );
    let log = fs::File::create(example.directory.path().join("log")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pagewire"));
    command.args(["serve", "--config", example.file.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let process = Process::of(command.spawn().unwrap(), example.directory.path().join("log"));
    let said = process.said();
    let address = said.split("ready: http://").nth(1).and_then(|it| it.split('/').next());
    let mut stream = std::net::TcpStream::connect(address.unwrap()).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request).unwrap();
    let page = std::io::read_to_string(stream).unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("page"), "{page}");
    let deadline = std::time::Instant::now() + crate::client::PATIENCE;
    while !process.said().contains("\"GET / HTTP/1.1\" 200") {
        assert!(std::time::Instant::now() < deadline, "{}", process.said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    process.stop();
}

#[test]
fn four_queues_are_served_by_shards_of_their_own() {
    if !privileged() {
        return;
    }
    assert_eq!(INTERFACE, "pw0");
    let cores = std::thread::available_parallelism().unwrap().get().min(4);
    let cores = format!("cores = \"0-{}\"", cores - 1);
    let lab = Lab::up(&LabConfig { queues: Some(4), ..LabConfig::unique() }).unwrap();
    let changes = [
        ("/srv/www", "{dir}/www"),
        ("192.0.2.1/24", "10.77.0.1/24"),
        ("2001:db8::1/64", "fd77::1/64"),
        ("cores = \"0-3\"", cores.as_str()),
        ("connections = 65_536", "connections = 1_024"),
    ];
    let example = Example::new("nic-4-queues.toml", &[&IN_LAB[..], &changes].concat());
    let process = example.serve(&lab);
    let said = process.said();
    assert!(said.contains("shard 3") && !said.contains("shard 4"), "{said}");
    for url in [format!("http://{}/page", SERVER[0]), format!("http://[{}]/page", SERVER[1])] {
        let answer = curl(&lab, &[&url]);
        assert!(answer.starts_with("http/1.1 200") && answer.ends_with("content\n"), "{answer}");
    }
    process.stop();
}

#[test]
fn a_node_of_a_cdn_serves_its_sites_by_their_rules() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(&LabConfig::unique()).unwrap();
    let changes = [
        ("/srv/", "{dir}/"),
        ("/var/log/pagewire", "{dir}"),
        ("203.0.113.10/24", "10.77.0.1/24"),
        ("2001:db8:1::10/64", "fd77::1/64"),
        ("connections = 200_000", "connections = 4_096"),
        ("access_log_sample = 100", "access_log_sample = 1"),
    ];
    let example = Example::new("cdn-node.toml", &[&IN_LAB[..], &changes].concat());
    let process = example.serve(&lab);
    let get = |host: &str, path: &str| {
        curl(&lab, &["--header", &format!("Host: {host}"), &format!("http://{}{path}", SERVER[0])])
    };
    let asset = get("eu.static.example.com", "/assets/a.css");
    assert!(asset.starts_with("http/1.1 200") && asset.contains("immutable"), "{asset}");
    assert!(asset.contains("access-control-allow-origin: *"), "{asset}");
    let listing = get("downloads.example.com", "/releases/");
    assert!(listing.starts_with("http/1.1 200") && listing.contains("1.iso"), "{listing}");
    let latest = get("downloads.example.com", "/latest/1.iso");
    assert!(latest.starts_with("http/1.1 302"), "{latest}");
    assert!(latest.contains("location: /releases/1.iso"), "{latest}");
    let stranger = get("elsewhere.example.org", "/");
    assert!(stranger.starts_with("http/1.1 421"), "{stranger}");
    process.stop();
    let log = fs::read_to_string(example.directory.path().join("access.log")).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{')) && log.lines().count() == 4, "{log}");
}
