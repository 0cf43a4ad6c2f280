//! Whole responses that are the same for all who ask within a second.
//!
//! A GET without conditions on a connection that goes on is answered with what the one before it was, until
//! the date changes. Of small files that are asked for often, head and content are therefore put together
//! once a second, and the responses share them: none is written for each, and a connection that is being
//! answered holds no memory of its own.

use std::{cell::RefCell, sync::Arc};

use pagewire_stack::FileObject;

use super::Representation;
use crate::http::{
    date::DATE_LEN,
    response::{self, Common},
};

/// Largest content that is kept once more with its head, in bytes. Beyond a segment there is little to gain.
pub(super) const CONTENT_MAX: usize = 2 << 10;

/// The responses of one resource, as one core has put them together.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    each: RefCell<Vec<One>>,
}

/// Of one representation.
#[derive(Clone, Debug)]
struct One {
    content: Arc<FileObject>,
    /// The second that it was last asked for in.
    date: [u8; DATE_LEN],
    /// From the second time in that second on.
    whole: Option<Whole>,
}

/// A head with its content.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Both.
    pub object: Arc<FileObject>,
    /// Bytes of the head.
    pub head_len: usize,
}

impl Prepared {
    /// Gives `use_it` the whole response with `representation`, if it is worth keeping and nothing in it is
    /// for one client alone. Says whether it has.
    pub fn with_whole(
        &self,
        representation: &Representation,
        common: Common<'_>,
        use_it: impl FnOnce(&Whole),
    ) -> bool {
        let (Some(content), Some(date)) =
            (representation.object.memory(), common.date.as_bytes().first_chunk())
        else {
            return false;
        };
        if content.len() > CONTENT_MAX || !common.is_usual() {
            return false;
        }
        let mut each = self.each.borrow_mut();
        let mut known = each.iter_mut();
        let Some(one) = known.find(|one| Arc::ptr_eq(&one.content, &representation.object)) else {
            let content = Arc::clone(&representation.object);
            each.push(One { content, date: *date, whole: None });
            return false;
        };
        if one.date != *date {
            (one.date, one.whole) = (*date, None);
            return false;
        }
        use_it(one.whole.get_or_insert_with(|| Whole::of(representation, content, common)));
        true
    }
}

impl Whole {
    fn of(representation: &Representation, content: &[u8], common: Common<'_>) -> Self {
        let mut bytes = Vec::new();
        response::write_whole(&mut bytes, common, &representation.entity);
        let head_len = bytes.len();
        bytes.extend_from_slice(content);
        Self { object: FileObject::from_bytes(bytes), head_len }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::http::response::{Description, Entity};

    const FIRST: Common<'static> = Common {
        date: "Sat, 21 Nov 2026 05:40:00 GMT",
        is_1_1: true,
        keep_alive: true,
        allowed_origin: None,
    };
    const SECOND: Common<'static> = Common { date: "Sat, 21 Nov 2026 05:40:01 GMT", ..FIRST };

    fn representation(len: usize, coding: Option<&str>) -> Representation {
        let description = Description {
            lines: b"",
            etag: "",
            last_modified: SystemTime::UNIX_EPOCH,
            shows_last_modified: false,
            shows_ranges: false,
            coding,
            content_type: "text/plain",
            len: len as u64,
        };
        let object = FileObject::from_bytes(vec![b'x'; len]);
        Representation { object, entity: Entity::new(&description) }
    }

    fn ask(prepared: &Prepared, of: &Representation, common: Common<'_>) -> Option<Whole> {
        let mut found = None;
        let given = prepared.with_whole(of, common, |whole| found = Some(whole.clone()));
        assert_eq!(given, found.is_some());
        found
    }

    #[test]
    fn a_response_is_shared_from_the_second_time_in_a_second_on() {
        let (prepared, plain) = (Prepared::default(), representation(3, None));
        let coded = representation(2, Some("br"));
        for common in [FIRST, SECOND] {
            for of in [&plain, &coded] {
                assert!(ask(&prepared, of, common).is_none(), "once is not often");
            }
            for of in [&plain, &coded] {
                let whole = ask(&prepared, of, common).expect("it is asked for again");
                let mut expected = Vec::new();
                response::write_whole(&mut expected, common, &of.entity);
                assert_eq!(whole.head_len, expected.len());
                expected.extend_from_slice(of.object.memory().unwrap());
                assert_eq!(whole.object.memory().unwrap(), expected);
                let again = ask(&prepared, of, common).expect("it stays");
                assert!(Arc::ptr_eq(&whole.object, &again.object));
            }
        }
    }

    #[test]
    fn what_is_large_or_for_one_client_alone_is_not_kept() {
        let large = representation(CONTENT_MAX + 1, None);
        let small = representation(CONTENT_MAX, None);
        let alone = [
            Common { keep_alive: false, ..FIRST },
            Common { is_1_1: false, ..FIRST },
            Common { allowed_origin: Some(b"https://a"), ..FIRST },
        ];
        let prepared = Prepared::default();
        for _ in 0..3 {
            assert!(ask(&prepared, &large, FIRST).is_none());
            assert!(alone.iter().all(|common| ask(&prepared, &small, *common).is_none()));
        }
        assert!(prepared.each.borrow().is_empty());
    }
}
