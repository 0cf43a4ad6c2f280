//! Bytes that a connection has received and its caller has not consumed: the beginning of a request, as a
//! rule for the moment until it is answered. Boxes of them are pooled: a connection without any has none.

/// Most boxes that wait for use.
const MOST_SPARE: usize = 1_024;
/// Largest buffer that is kept for another use, in bytes.
const LARGEST_SPARE: usize = 64 * 1_024;

/// See the module.
#[derive(Debug, Default)]
pub struct Head {
    bytes: Vec<u8>,
    consumed: usize,
}

impl Head {
    /// The bytes.
    pub fn unconsumed(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the first `len` bytes away, as far as there are so many. No more than `most` of such bytes
    /// are kept in memory.
    pub fn consume(&mut self, len: usize, most: usize) {
        self.consumed += len.min(self.unconsumed().len());
        if self.consumed >= most {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
    }
}

/// Spare boxes of one core.
#[expect(clippy::vec_box, reason = "the boxes themselves are handed out")]
#[derive(Debug, Default)]
pub struct HeadPool {
    spare: Vec<Box<Head>>,
}

impl HeadPool {
    /// An empty one.
    #[expect(clippy::unnecessary_box_returns, reason = "the box itself is pooled")]
    pub fn take(&mut self) -> Box<Head> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes one back.
    pub fn give(&mut self, head: Option<Box<Head>>) {
        if let Some(mut head) = head
            && head.bytes.capacity() <= LARGEST_SPARE
            && self.spare.len() < MOST_SPARE
        {
            head.bytes.clear();
            head.consumed = 0;
            self.spare.push(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_gone_and_does_not_pile_up() {
        let mut head = Head::default();
        for round in 0..1_000u32 {
            head.extend(&round.to_be_bytes());
            head.extend(b"rest");
            head.consume(4, 64);
            assert_eq!(head.unconsumed(), b"rest");
            head.consume(4, 64);
            assert!(head.unconsumed().is_empty() && head.bytes.len() <= 72);
        }
        head.extend(b"abc");
        head.consume(9, 64);
        assert!(head.unconsumed().is_empty());
    }

    #[test]
    fn a_box_comes_back_empty() {
        let mut pool = HeadPool::default();
        let mut head = pool.take();
        head.extend(b"abc");
        head.consume(1, 64);
        pool.give(Some(head));
        pool.give(None);
        assert_eq!(pool.spare.len(), 1);
        assert!(pool.take().unconsumed().is_empty());
    }
}
