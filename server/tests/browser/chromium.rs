//! A Chromium without a window, driven by its debugging protocol.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, stream::MaybeTlsStream};

/// Port of the debugging protocol, on the loopback of the browser's namespace.
const PORT: u16 = 9_222;

/// A browser with one page. Dropping it ends it.
pub struct Chromium {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    next: u64,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it in the namespace of the calling thread.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio"]);
        command.args([
            "--no-first-run",
            "--disable-background-networking",
            "--window-size=900,900",
        ]);
        command.arg("--autoplay-policy=no-user-gesture-required");
        command.arg(format!("--remote-debugging-port={PORT}"));
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg("about:blank").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("chromium; `./dev soak` installs it");
        let deadline = Instant::now() + Duration::from_mins(1);
        let address = loop {
            if let Some(address) = page_address() {
                break address;
            }
            assert!(child.try_wait().unwrap().is_none(), "chromium has ended");
            assert!(Instant::now() < deadline, "chromium does not answer");
            thread::sleep(Duration::from_millis(100));
        };
        let (socket, _) = tungstenite::connect(address).unwrap();
        Self { child, socket, next: 0, _profile: profile }
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let message = json!({ "id": self.next, "method": method, "params": parameters });
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// The value of a script, or of its promise.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let parameters =
            json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].take()
    }

    /// Goes to an address and waits until all of it is loaded.
    pub fn visit(&mut self, address: &str) {
        let answer = self.call("Page.navigate", &json!({ "url": address }));
        assert!(answer["errorText"].is_null(), "{address}: {answer}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.evaluate("document.readyState") != "complete" {
            assert!(Instant::now() < deadline, "{address} is not loaded");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Shows pages as on a screen of that width, on a phone or not, in `light` or `dark`.
    pub fn pretend(&mut self, width: u32, is_phone: bool, scheme: &str) {
        let screen =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", &screen);
        let scheme = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [scheme] }));
    }

    /// A picture of the page, as PNG in base 64.
    pub fn picture(&mut self) -> String {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        answer["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of the page's debugging socket, once the browser listens.
fn page_address() -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let request = format!("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // The browser keeps the connection: what has come in time is all of it.
    let _ = stream.take(64 << 10).read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).ok()?;
    let body = &text[text.find("\r\n\r\n")? + 4..];
    let pages: Value = serde_json::from_str(body.trim()).ok()?;
    let page = pages.as_array()?.iter().find(|page| page["type"] == "page")?;
    Some(page["webSocketDebuggerUrl"].as_str()?.to_owned())
}
