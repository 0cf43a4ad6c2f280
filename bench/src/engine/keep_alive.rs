//! Keep-alive requests with answers of 128 bytes, over all connections in random order: what one costs,
//! and what memory a connection takes.

use std::{fs, io, time::Duration};

use super::{
    EngineError,
    app::{Answers, App, Product, stack_on_link},
    clients::Clients,
    load::Load,
};
use crate::figures::Figure;

/// Bytes of an answer's body.
const BODY: usize = 128;
/// Below so many connections what a stack needs once hides what each of them takes.
const ENOUGH_FOR_MEMORY: usize = 65_536;
/// What clients ask the stack alone.
pub const PLAIN_REQUEST: [u8; 120] = [b'G'; 120];
/// What clients ask the product.
const HTTP_REQUEST: &[u8] =
    b"GET /body HTTP/1.1\r\nHost: 10.0.0.1\r\nUser-Agent: pagewire-bench\r\n\
                              Accept: */*\r\nAccept-Encoding: identity\r\n\r\n";

/// What answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// The stack alone: any bytes are answered with 128 others.
    Tcp,
    /// The product's shard: requests for a file of 128 bytes.
    Http,
}

impl Layer {
    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

/// A stack that gives plain answers, with `count` clients whose connections are open.
pub fn plain_load(count: usize) -> Result<Load<'static, Answers>, EngineError> {
    let (stack, far, _) = stack_on_link(count, false)?;
    let app = Answers::new(stack, vec![b'x'; BODY], None);
    Load::open(app, Clients::new(far, count, false), &PLAIN_REQUEST)
}

/// Measures `count` connections for `time` of the stack's own turns.
pub fn measure(layer: Layer, count: usize, time: Duration) -> Result<Vec<Figure>, EngineError> {
    // What the clients need for themselves does not count.
    let before = resident_bytes()? + count * size_of::<[u32; 2]>();
    let name = format!("engine/keep-alive/{}/{count} connections", layer.name());
    match layer {
        Layer::Tcp => figures(&name, plain_load(count)?, count, time, before),
        Layer::Http => {
            let directory = tempfile::tempdir()?;
            fs::write(directory.path().join("body"), [b'x'; BODY])?;
            let (stack, far, disk) = stack_on_link(count, false)?;
            let app = Product::new(stack, disk, directory.path())?;
            let load = Load::open(app, Clients::new(far, count, false), HTTP_REQUEST)?;
            figures(&name, load, count, time, before)
        }
    }
}

fn figures<A: App>(
    name: &str,
    mut load: Load<'_, A>,
    count: usize,
    time: Duration,
    before: usize,
) -> Result<Vec<Figure>, EngineError> {
    let idle = resident_bytes()?.saturating_sub(before);
    load.warm_up()?;
    let order = count * size_of::<u32>();
    let used = resident_bytes()?.saturating_sub(before + order);
    let spent = load.run(time)?;
    let under_way = resident_bytes()?.saturating_sub(before + order);
    let figure = |what, value, unit| Figure { name: format!("{name}/{what}"), value, unit };
    let mut figures =
        vec![figure("requests", spent.rate(), "1/s"), figure("time", spent.nanos(), "ns/request")];
    if count >= ENOUGH_FOR_MEMORY {
        figures.push(figure("idle", idle as f64 / count as f64, "B/connection"));
        figures.push(figure("used", used as f64 / count as f64, "B/connection"));
        let each = under_way as f64 / count as f64;
        figures.push(figure("with an answer under way", each, "B/connection"));
    }
    Ok(figures)
}

/// Resident memory of this process with its page tables, in bytes.
pub fn resident_bytes() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    Ok((kib("VmRSS:") + kib("VmPTE:")) * 1_024)
}
