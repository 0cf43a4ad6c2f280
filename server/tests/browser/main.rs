//! What people use, against both transports in a lab: Chromium, with a page of pictures and a video that is
//! sought in; curl; wget. Run by `./dev soak`, which installs them.
//!
//! With `BROWSER_PICTURES` set to a directory, pictures of the pages are left there.

mod chromium;
mod webm;

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use chromium::Chromium;

use pagewire::{config::Config, serve::Server};
use pagewire_tools::lab::{Addressing, INTERFACE, Lab, LabConfig, Side, privileged};
use tempfile::TempDir;

const SITE: &str = "http://10.77.0.1";
const PICTURES: usize = 24;
const SECONDS: usize = 120;

/// Frames for a video, each with its number on it, as a browser encodes pictures.
fn frames(browser: &mut Chromium) -> Vec<Vec<u8>> {
    let script = "(async () => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [320, 180];
        const context = canvas.getContext('2d', { alpha: false });
        const frames = [];
        for (let second = 0; second < SECONDS; second++) {
            context.fillStyle = `hsl(${second * 3}, 60%, 40%)`;
            context.fillRect(0, 0, 320, 180);
            context.fillStyle = 'white';
            context.font = '64px sans-serif';
            context.fillText(`${second} s`, 90, 110);
            const blob = await new Promise(ok => canvas.toBlob(ok, 'image/webp', 0.7));
            frames.push(Array.from(new Uint8Array(await blob.arrayBuffer())));
        }
        return frames;
    })()";
    let pictures = browser.evaluate(&script.replace("SECONDS", &SECONDS.to_string()));
    let frame = |picture: &serde_json::Value| {
        let bytes: Vec<u8> = serde_json::from_value(picture.clone()).unwrap();
        // RFC 9649: the frame is the content of this chunk.
        let at = bytes.windows(4).position(|name| name == b"VP8 ").expect("a lossy picture");
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        bytes[at + 8..at + 8 + len].to_vec()
    };
    pictures.as_array().unwrap().iter().map(frame).collect()
}

fn prepare(root: &Path, video: &[u8]) {
    let mut page = "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Pagewire</title>\
        <link rel=stylesheet href=style.css><h1>Pictures and a video</h1><p>"
        .to_owned();
    for number in 0..PICTURES {
        let hue = number * 15;
        let picture = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'>\
             <rect width='60' height='60' rx='12' fill='hsl({hue},70%,50%)'/></svg>"
        );
        fs::write(root.join(format!("{number}.svg")), picture).unwrap();
        let _ = write!(page, "<img src={number}.svg alt={number}> ");
    }
    page += "<p><video src=video.webm width=640 height=360 controls preload=metadata></video>";
    fs::write(root.join("index.html"), page).unwrap();
    fs::write(root.join("video.webm"), video).unwrap();
    let rules = "img { margin: 2px }\n".repeat(500);
    fs::write(root.join("style.css"), rules + "h1 { color: rgb(1, 2, 3) }\n").unwrap();
    let packed = Command::new("gzip").arg("--keep").arg(root.join("style.css")).status();
    assert!(packed.unwrap().success());
    fs::create_dir(root.join("files")).unwrap();
    let long = long_name();
    for (name, len) in
        [("a <b>.txt", 10), ("notes 2.md", 4_000), ("notes 10.md", 70_000_000), (&long, 1 << 40)]
    {
        fs::File::create(root.join("files").join(name)).unwrap().set_len(len).unwrap();
    }
    fs::create_dir(root.join("files/sub directory")).unwrap();
}

const LOOK: &str = "(async () => {
    const within = (promise, what) => Promise.race([
        promise,
        new Promise((_, no) => setTimeout(() => no(new Error('no ' + what)), 20000)),
    ]);
    const event = (target, name) =>
        within(new Promise(ok => target.addEventListener(name, ok, { once: true })), name);
    const video = document.querySelector('video');
    if (video.readyState < 1) await event(video, 'loadedmetadata');
    const seeks = [];
    for (const second of [100, 30, 118]) {
        const done = event(video, 'seeked');
        video.currentTime = second + 0.5;
        await done;
        seeks.push(video.currentTime);
    }
    const buffered = [];
    for (let i = 0; i < video.buffered.length; i++)
        buffered.push([video.buffered.start(i), video.buffered.end(i)]);
    const style = performance.getEntriesByName(new URL('style.css', location).href)[0];
    return {
        pictures: [...document.images].filter(image => image.complete && image.naturalWidth == 60).length,
        colour: getComputedStyle(document.querySelector('h1')).color,
        packed: style.encodedBodySize < style.decodedBodySize,
        duration: video.duration,
        error: video.error && video.error.message,
        seeks,
        buffered: buffered.reduce((sum, [start, end]) => sum + end - start, 0),
    };
})()";

fn look(browser: &mut Chromium, pictures: Option<&Path>, transport: &str) {
    browser.visit(&format!("{SITE}/"));
    let found = browser.evaluate(LOOK);
    eprintln!("{transport}: {found}");
    assert_eq!(found["pictures"], PICTURES);
    assert_eq!(found["colour"], "rgb(1, 2, 3)");
    assert_eq!(found["packed"], true, "the style sheet comes compressed");
    assert_eq!(found["duration"], SECONDS as f64);
    assert_eq!(found["seeks"], serde_json::json!([100.5, 30.5, 118.5]));
    let buffered = found["buffered"].as_f64().unwrap();
    assert!(buffered < SECONDS as f64 * 0.9, "it has read {buffered} s: not by ranges");
    keep(browser, pictures, &format!("{transport}-page"));
    browser.visit(&format!("{SITE}/files/"));
    let rows = browser.evaluate("[...document.querySelectorAll('td a')].map(a => a.textContent)");
    let long = long_name();
    let names = ["../", "sub directory/", "a <b>.txt", "notes 2.md", "notes 10.md", &long];
    assert_eq!(rows, serde_json::json!(names));
    keep(browser, pictures, &format!("{transport}-listing"));
    browser.pretend(390, true, "dark");
    let shown = browser.evaluate(
        "({ text: getComputedStyle(document.body).color,
            fits: document.documentElement.scrollWidth <= innerWidth })",
    );
    assert_eq!(shown, serde_json::json!({ "text": "rgb(255, 255, 255)", "fits": true }));
    keep(browser, pictures, &format!("{transport}-listing-phone-dark"));
    browser.pretend(900, false, "light");
    browser.visit(&format!("{SITE}/nothing"));
    let text = browser.evaluate("document.body.innerText");
    assert!(text.as_str().is_some_and(|text| text.starts_with("404: ")), "{text}");
    keep(browser, pictures, &format!("{transport}-error"));
}

fn long_name() -> String {
    format!("{}.txt", "what-a-long-name_".repeat(9))
}

fn keep(browser: &mut Chromium, pictures: Option<&Path>, name: &str) {
    let picture = browser.picture();
    assert!(picture.len() > 3_000, "an empty picture");
    if let Some(directory) = pictures {
        fs::write(directory.join(format!("{name}.png.base64")), picture).unwrap();
    }
}

/// Runs a program and returns what it writes.
fn output(words: &[&str]) -> Vec<u8> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}; ./dev soak installs it", words[0]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {} {said}", output.status);
    output.stdout
}

fn fetch(root: &Path) {
    let video = fs::read(root.join("video.webm")).unwrap();
    let style = fs::read(root.join("style.css")).unwrap();
    let address = |path: &str| format!("{SITE}/{path}");
    assert!(output(&["curl", "-sSf", &address("video.webm")]) == video);
    assert!(output(&["wget", "-qO-", &address("video.webm")]) == video);
    assert!(output(&["curl", "-sSf", "--compressed", &address("style.css")]) == style);
    let part = output(&["curl", "-sSf", "-r", "1000000-1999999", &address("video.webm")]);
    assert!(part == video[1_000_000..2_000_000]);
    let parts = output(&["curl", "-sSf", "-r", "0-9,-10", &address("video.webm")]);
    assert!(String::from_utf8_lossy(&parts).contains("Content-Range: bytes 0-9/"));
    let moved =
        output(&["curl", "-sSfL", "-o", "/dev/null", "-w", "%{url_effective}", &address("files")]);
    assert_eq!(moved, address("files/").as_bytes());
    // A download that was broken off goes on where it stopped.
    let directory = tempfile::tempdir().unwrap();
    let half = directory.path().join("video.webm");
    fs::write(&half, &video[..video.len() / 2]).unwrap();
    output(&["wget", "-q", "-c", "-O", half.to_str().unwrap(), &address("video.webm")]);
    assert!(fs::read(&half).unwrap() == video);
    // Everything that a page links to.
    let mirror =
        ["wget", "-q", "-r", "-np", "-P", directory.path().to_str().unwrap(), &address("")];
    output(&mirror);
    let copy = fs::read(directory.path().join("10.77.0.1/style.css")).unwrap();
    assert!(copy == style);
}

#[test]
#[ignore = "needs Chromium and a minute"]
fn browsers_and_downloaders_get_everything_on_both_transports() {
    if !privileged() {
        return;
    }
    let pictures = env::var_os("BROWSER_PICTURES").map(PathBuf::from);
    for transport in ["kernel", "xdp"] {
        let addressing = if transport == "xdp" { Addressing::No } else { Addressing::Yes };
        let lab =
            Lab::up(&LabConfig { kernel_address: addressing, ..LabConfig::unique() }).unwrap();
        let directory = tempfile::tempdir().unwrap();
        lab.within(Side::Client, || {
            let mut browser = Chromium::start();
            let video = webm::video(&frames(&mut browser), (320, 180));
            prepare(directory.path(), &video);
            let server = lab.within(Side::Server, || start(&directory, transport)).unwrap();
            look(&mut browser, pictures.as_deref(), transport);
            fetch(directory.path());
            drop(browser);
            server.drain();
            assert!(server.wait_ended(std::time::Instant::now() + Duration::from_secs(10)));
        })
        .unwrap();
    }
}

fn start(directory: &TempDir, transport: &str) -> Server {
    let root = directory.path().to_str().unwrap();
    let kernel = ["--transport", "kernel", "--listen", "10.77.0.1:80"].as_slice();
    let xdp = [
        "--transport",
        "xdp",
        "--require-xdp",
        "--interface",
        INTERFACE,
        "--address",
        "10.77.0.1/24",
    ];
    let words = ["pagewire", "serve", root, "--listing"].into_iter();
    let words =
        words.chain(if transport == "xdp" { xdp.as_slice() } else { kernel }.iter().copied());
    Server::start(&Config::of_command_line(words).unwrap()).unwrap()
}
