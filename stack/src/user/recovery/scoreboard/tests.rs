use proptest::prelude::*;

use super::*;

const LEN: u32 = 100;

/// A board of `count` segments that were sent one after the other, the numbers of whose records are about
/// to wrap.
fn board(count: u64) -> Scoreboard {
    board_of_runs(count, 1)
}

/// The same, sent up to `most` at a time: first one, then two, and so on.
fn board_of_runs(count: u64, most: u64) -> Scoreboard {
    let mut board =
        Scoreboard { records: Records::starting_at(u32::MAX - 3), ..Scoreboard::default() };
    let (mut number, mut burst) = (0, 1);
    while number < count {
        let segments = burst.min(count - number);
        let (start, len) = (number * u64::from(LEN), segments as u32 * LEN);
        board.push(Instant::from_micros(number), start, len, LEN, false);
        number += segments;
        burst = burst % most + 1;
    }
    board
}

fn segments_of(mut run: Run) -> Vec<Record> {
    let mut segments = Vec::new();
    while run.len > 0 {
        let record = run.first();
        run.skip(record.len);
        segments.push(record);
    }
    segments
}

/// What the board knows of each segment, folded or not.
fn segments(board: &Scoreboard) -> Vec<Record> {
    let records = (0..board.records.len()).map(|at| board.records[at]);
    records.chain(board.runs.iter().copied().flat_map(segments_of)).collect()
}

fn fates(board: &Scoreboard) -> Vec<Fate> {
    segments(board).iter().map(|record| record.fate).collect()
}

/// The starts of the segments in a list, by its links, in both directions.
fn listed(board: &Scoreboard, fate: Fate) -> Vec<u64> {
    let Some((head, tail)) = board.records.ends(fate) else { return Vec::new() };
    let walk = |from: u32, forward: bool| {
        let (mut at, mut seen) = (from, Vec::new());
        loop {
            let record = &board.records[board.records.place(at)];
            seen.push(record.start);
            let next = if forward { record.next } else { record.previous };
            if next == at {
                return seen;
            }
            at = next;
        }
    };
    let forward = walk(head, true);
    let mut backward = walk(tail, false);
    backward.reverse();
    assert_eq!(forward, backward);
    forward
}

#[test]
fn a_block_that_covers_part_of_a_segment_says_nothing_of_it() {
    let mut board = board(4);
    let mut seen = Vec::new();
    board.receive(150..399, |record| seen.push(record.start));
    assert_eq!(seen, [200]);
    assert_eq!((board.flying_bytes(), board.received_bytes()), (300, 100));
}

#[test]
fn a_segment_acknowledged_in_part_keeps_the_rest() {
    let mut board = board(2);
    let mut seen = Vec::new();
    board.acknowledge(150, |record| seen.push((record.start, record.len)));
    assert_eq!(seen, [(0, 100), (100, 50)]);
    assert_eq!(board.front().map(|front| (front.start, front.len)), Some((150, 50)));
    assert_eq!(board.flying_bytes(), 50);
}

/// The starts and lengths of what is left.
fn pieces(board: &Scoreboard) -> Vec<(u64, u32)> {
    segments(board).iter().map(|record| (record.start, record.len)).collect()
}

#[test]
fn segments_sent_together_are_acknowledged_together() {
    let mut board = Scoreboard::default();
    // The last is short, and a FIN makes that of the second burst one longer.
    board.push(Instant::ZERO, 0, 250, LEN, false);
    board.push(Instant::from_millis(1), 250, 201, LEN, true);
    assert_eq!(pieces(&board), [(0, 100), (100, 100), (200, 50), (250, 100), (350, 101)]);
    assert_eq!(board.back().map(|back| (back.start, back.len)), Some((350, 101)));
    let mut seen = Vec::new();
    board.acknowledge(250, |record| seen.push((record.start, record.len)));
    assert_eq!(seen, [(0, 250)]);
    assert!(!board.is_single() && !board.is_empty());
    board.acknowledge(451, |record| seen.push((record.start, record.len)));
    assert_eq!(seen[1..], [(250, 201)]);
    assert!(board.is_empty() && board.flying_bytes() == 0);
}

#[test]
fn segments_sent_together_can_be_acknowledged_up_to_any_byte() {
    for end in 1..=301 {
        let mut board = Scoreboard::default();
        board.push(Instant::ZERO, 0, 301, LEN, true);
        let mut seen = 0;
        board.acknowledge(end, |record| seen += record.len);
        assert_eq!(u64::from(seen), end);
        assert_eq!(board.flying_bytes(), 301 - end);
        let mut left = pieces(&board);
        assert_eq!(left.iter().map(|(_, len)| u64::from(*len)).sum::<u64>(), 301 - end);
        assert!(left.first().is_none_or(|(start, _)| *start == end), "{left:?} after {end}");
        left.iter().skip(1).for_each(|(start, _)| assert_eq!(start % 100, 0));
        board.receive(0..301, |record| assert_eq!(left.remove(0), (record.start, record.len)));
        assert!(left.is_empty() && board.flying_bytes() == 0);
    }
}

#[test]
fn what_is_sent_after_a_retransmission_is_younger_than_that() {
    let mut board = board_of_runs(6, 3);
    board.lose_oldest();
    board.sent_again(Instant::from_millis(5));
    board.push(Instant::from_millis(6), 600, 200, LEN, false);
    let mut order = Vec::new();
    while let Some(oldest) = board.oldest_flying() {
        order.push(oldest.start);
        board.lose_oldest();
    }
    assert_eq!(order, [100, 200, 300, 400, 500, 0, 600, 700]);
}

#[test]
fn what_is_lost_again_is_sent_again_first() {
    let mut board = board(3);
    board.lose_oldest();
    board.sent_again(Instant::from_millis(5));
    board.lose_oldest();
    board.lose_oldest();
    board.lose_oldest();
    assert_eq!(listed(&board, Fate::Lost), [0, 100, 200]);
    assert_eq!(board.flying_bytes(), 0);
}

#[test]
fn a_peer_that_goes_back_on_its_word_is_believed_nothing_after_a_timeout() {
    let mut board = board(4);
    board.receive(100..300, |_| {});
    board.acknowledge(100, |_| {});
    board.lose_older(Instant::from_millis(1_000));
    assert_eq!(fates(&board), [Fate::Lost; 3]);
    assert_eq!((board.received_bytes(), board.received_records()), (0, 0));
    assert_eq!(listed(&board, Fate::Lost), [100, 200, 300]);
}

/// As long as its runs are merged, a repeated block does not walk over what it has marked before.
#[test]
fn repeated_blocks_over_a_16_mb_window_take_few_steps() {
    let count = (16 << 20) / u64::from(LEN);
    let mut board = board(count);
    for at in (1..count).step_by(2) {
        let start = at * u64::from(LEN);
        board.receive(start..start + u64::from(LEN), |_| {});
    }
    board.receive(u64::from(LEN)..count * u64::from(LEN), |_| {});
    let (mut at, mut steps) = (1, 0);
    board.records.skip_received(1);
    while let Some(record) = board.records.get(at).filter(|r| r.fate == Fate::Received) {
        at = board.records.place(record.next);
        steps += 1;
    }
    let first = steps;
    for _ in 0..20 {
        board.records.skip_received(1);
    }
    (at, steps) = (1, 0);
    while let Some(record) = board.records.get(at).filter(|r| r.fate == Fate::Received) {
        at = board.records.place(record.next);
        steps += 1;
    }
    assert!(steps <= 2 && steps <= first, "{steps} steps, {first} before");
}

proptest! {
    /// The oracle keeps a fate for each segment and works them out one by one.
    #[test]
    fn fates_lists_and_sums_are_as_in_a_plain_table(
        steps in prop::collection::vec((0u8..7, 0u64..40, 0u64..40), 1..120),
        most in 1u64..20,
    ) {
        let mut board = board_of_runs(40, most);
        let mut table = [Fate::Flying; 40];
        let mut popped = 0;
        for (step, one, two) in steps {
            let (low, high) = (one.min(two), one.max(two));
            let bytes = |segments: u64| segments * u64::from(LEN);
            match step {
                0 => {
                    board.acknowledge(bytes(low / 4), |_| {});
                    popped = popped.max((low / 4) as usize);
                }
                1 | 2 => {
                    board.receive(bytes(low)..bytes(high), |_| {});
                    for fate in &mut table[low as usize..high as usize] {
                        *fate = Fate::Received;
                    }
                }
                3 => if let Some(oldest) = board.oldest_flying() {
                    board.lose_oldest();
                    table[(oldest.start / u64::from(LEN)) as usize] = Fate::Lost;
                },
                4 => if let Some(lost) = board.next_lost().copied() {
                    board.sent_again(Instant::from_millis(one));
                    table[(lost.start / u64::from(LEN)) as usize] = Fate::Flying;
                },
                5 => {
                    let broken = table.get(popped) == Some(&Fate::Received);
                    board.lose_older(Instant::from_millis(1_000));
                    for fate in table.iter_mut().filter(|fate| broken || **fate != Fate::Received) {
                        *fate = Fate::Lost;
                    }
                }
                _ => {
                    board.find_lost();
                    for fate in table.iter_mut().filter(|fate| **fate == Fate::Lost) {
                        *fate = Fate::Flying;
                    }
                }
            }
            let rest = &table[popped..];
            prop_assert_eq!(&fates(&board)[..], rest);
            let count = |fate| rest.iter().filter(|one| **one == fate).count();
            prop_assert_eq!(board.flying_bytes(), bytes(count(Fate::Flying) as u64));
            prop_assert_eq!(board.received_bytes(), bytes(count(Fate::Received) as u64));
            prop_assert_eq!(board.received_records(), count(Fate::Received));
            for fate in [Fate::Flying, Fate::Lost] {
                let mut starts = listed(&board, fate);
                let unfolded = board.records.len();
                starts.sort_unstable();
                let in_table = (popped..popped + unfolded).filter(|&at| table[at] == fate);
                let expected: Vec<u64> = in_table.map(|at| bytes(at as u64)).collect();
                prop_assert_eq!(starts, expected);
            }
        }
    }
}
