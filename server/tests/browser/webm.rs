//! A video that can be sought in, made of still pictures: `WebM` (RFC 9559) with a `VP8` key frame a second,
//! an index at the front, and so much void that a browser does not read all of it ahead.

/// Void after each second, in bytes.
const VOID: usize = 150_000;

/// A video that shows each of `frames`, which are `VP8` key frames, for a second.
pub fn video(frames: &[Vec<u8>], (width, height): (u16, u16)) -> Vec<u8> {
    let header = element(
        &[0x1a, 0x45, 0xdf, 0xa3],
        &[element(&[0x42, 0x82], b"webm"), number(&[0x42, 0x87], 2), number(&[0x42, 0x85], 2)]
            .concat(),
    );
    let duration_ms = frames.len() as f64 * 1_000.0;
    let info = element(
        &[0x15, 0x49, 0xa9, 0x66],
        &[
            number(&[0x2a, 0xd7, 0xb1], 1_000_000),
            element(&[0x44, 0x89], &duration_ms.to_be_bytes()),
            element(&[0x4d, 0x80], b"pagewire test"),
            element(&[0x57, 0x41], b"pagewire test"),
        ]
        .concat(),
    );
    let picture = [number(&[0xb0], width.into()), number(&[0xba], height.into())].concat();
    let track = [
        number(&[0xd7], 1),
        number(&[0x73, 0xc5], 1),
        number(&[0x83], 1),
        element(&[0x86], b"V_VP8"),
        element(&[0xe0], &picture),
    ];
    let tracks = element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &track.concat()));
    let clusters: Vec<_> =
        frames.iter().zip(0..).map(|(frame, second)| cluster(frame, second)).collect();

    // The index says where clusters are, and stands before them; its length does not depend on what it says.
    let front_len = info.len() + tracks.len() + index(&clusters, 0).len();
    let segment = [info, tracks, index(&clusters, front_len), clusters.concat()].concat();
    [header, element(&[0x18, 0x53, 0x80, 0x67], &segment)].concat()
}

/// One second.
fn cluster(frame: &[u8], second: u64) -> Vec<u8> {
    // Track 1, at the cluster's own time, a key frame.
    let block = [&[0x81, 0, 0, 0x80], frame].concat();
    let content = [
        number(&[0xe7], second * 1_000),
        element(&[0xa3], &block),
        element(&[0xec], &vec![0; VOID]),
    ];
    element(&[0x1f, 0x43, 0xb6, 0x75], &content.concat())
}

fn index(clusters: &[Vec<u8>], start: usize) -> Vec<u8> {
    let mut at = start as u64;
    let mut points = Vec::new();
    for (cluster, second) in clusters.iter().zip(0u64..) {
        let position = [number(&[0xf7], 1), number(&[0xf1], at)].concat();
        let point = [number(&[0xb3], second * 1_000), element(&[0xb7], &position)].concat();
        points.extend(element(&[0xbb], &point));
        at += cluster.len() as u64;
    }
    element(&[0x1c, 0x53, 0xbb, 0x6b], &points)
}

/// An element with its length in eight bytes.
fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u64 | 1 << 56).to_be_bytes();
    [id, &len, content].concat()
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}
