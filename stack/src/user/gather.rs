//! Payload from where it lies into a frame: response heads and file bytes, found by stream offset.

#![allow(unsafe_code)]

use super::{
    checksum::Sum,
    copy_sum::copy_and_sum,
    tx_map::{Stretch, TxMap},
};
use crate::{CloseReason, FileObject};

/// Fills `payload` with the stream's bytes from `offset` on and returns their sum.
///
/// The last bytes of a file range count only if the file is still what it was when it was opened, and so
/// does whatever is sent again of it after them: a response whose file was cut or rewritten on the way is
/// never completed.
///
/// # Errors
///
/// Why the connection must be given up: the file behind the bytes has changed, or the map does not
/// cover them.
pub fn gather(tx: &TxMap, offset: u64, payload: &mut [u8]) -> Result<Sum, CloseReason> {
    let (mut filled, mut sum) = (0, Sum::ZERO);
    while filled < payload.len() {
        let rest = &mut payload[filled..];
        match tx.stretch(offset + filled as u64, rest.len()) {
            Some(Stretch::Bytes(bytes)) => {
                // SAFETY: as many readable bytes; a frame's memory does not overlap them.
                let part = unsafe { copy_and_sum(bytes.as_ptr(), &mut rest[..bytes.len()]) };
                sum = sum + part.at(filled);
                filled += bytes.len();
            }
            Some(Stretch::File { range, start, len, is_last }) => {
                let part = copy(&range.object, start, &mut rest[..len])?;
                let end = offset + (filled + len) as u64;
                if is_last {
                    tx.complete(end);
                }
                if tx.is_completed(end) && !range.object.is_current() {
                    return Err(CloseReason::ContentChanged);
                }
                sum = sum + part.at(filled);
                filled += len;
            }
            None => return Err(CloseReason::Aborted),
        }
    }
    Ok(sum)
}

/// Copies bytes of a file object from `start` on, and returns their sum.
fn copy(object: &FileObject, start: u64, into: &mut [u8]) -> Result<Sum, CloseReason> {
    let from = object.pointer(start, into.len()).ok_or(CloseReason::ContentChanged)?;
    // SAFETY: `pointer` vouches for that many readable bytes while the object lives, which the borrow
    // makes sure of; a frame's memory does not overlap them. They may change meanwhile, so they are
    // only copied, and what was copied counts only if the mapping was whole then.
    let sum = unsafe { copy_and_sum(from, into) };
    if object.is_damaged() { Err(CloseReason::ContentChanged) } else { Ok(sum) }
}
