//! Is a history of reads and writes of one register linearizable?
//!
//! Every write writes another value, so each read tells which write it read from, and the question
//! is answered in O(n log n) (Gibbons and Korach, "Testing Shared Memories", 1997). The operations
//! on one value form a cluster. Its zone lies between the first end and the last start of an
//! operation in it. Where the first end comes first, the zone is *forward*: the register must have
//! held the value all that time. Else it is *backward*: at some moment in it. A history is
//! linearizable if no two forward zones overlap, no backward zone lies within a forward one, and
//! no read ends before its write starts.

use std::collections::HashMap;

/// The value of a register that was never written.
pub(super) const NEVER: u64 = 0;
/// The end of an operation that nobody saw the end of.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// One operation, with times from the same clock. A read that has no end is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) write: bool,
    pub(super) value: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The operations on one value.
struct Cluster {
    written: Option<u64>,
    first_end: u64,
    last_start: u64,
    first_read_end: u64,
}

/// Says what is wrong, if something is.
pub(super) fn check(operations: &[Operation]) -> Result<(), String> {
    let mut clusters: HashMap<u64, Cluster> = HashMap::new();
    let never = Operation { write: true, value: NEVER, start: 0, end: 0 };
    for operation in std::iter::once(&never).chain(operations) {
        let cluster = clusters.entry(operation.value).or_insert(Cluster {
            written: None,
            first_end: u64::MAX,
            last_start: 0,
            first_read_end: u64::MAX,
        });
        cluster.first_end = cluster.first_end.min(operation.end);
        cluster.last_start = cluster.last_start.max(operation.start);
        if operation.write {
            cluster.written = Some(operation.start);
        } else {
            cluster.first_read_end = cluster.first_read_end.min(operation.end);
        }
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, cluster) in &clusters {
        let Some(written) = cluster.written else {
            return Err(format!("{value} was read and never written"));
        };
        if cluster.first_read_end < written {
            return Err(format!("{value} was read before it was written"));
        }
        let (first_end, last_start) = (cluster.first_end, cluster.last_start);
        if first_end < last_start {
            forward.push((first_end, last_start, *value));
        } else {
            backward.push((last_start, first_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        let ((_, until, one), (from, _, other)) = (pair[0], pair[1]);
        if from < until {
            return Err(format!("the register held {one} and {other} at the same time"));
        }
    }
    for (start, end, value) in backward {
        let before = forward.partition_point(|&(from, _, _)| from < start);
        if let Some(&(_, until, held)) = before.checked_sub(1).map(|index| &forward[index])
            && end < until
        {
            return Err(format!(
                "the register held {held} all the time that it could hold {value}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u64, start: u64, end: u64) -> Operation {
        Operation { write: true, value, start, end }
    }

    fn read(value: u64, start: u64, end: u64) -> Operation {
        Operation { write: false, value, start, end }
    }

    #[test]
    fn what_can_be_put_in_order_is_linearizable() {
        for history in [
            vec![read(NEVER, 1, 2), write(1, 3, 4), read(1, 5, 6)],
            // Two writes at the same time, in either order.
            vec![write(1, 1, 10), write(2, 1, 10), read(1, 11, 12), read(1, 13, 14)],
            vec![write(1, 1, 10), write(2, 1, 10), read(2, 11, 12)],
            // A write under way may be seen or not, and once seen stays.
            vec![write(1, 1, 2), write(2, 3, 20), read(1, 4, 5), read(2, 6, 7), read(2, 8, 9)],
            // One whose end nobody saw may come late, or never.
            vec![write(1, 1, 2), write(2, 3, UNKNOWN), read(1, 50, 51), read(2, 60, 61)],
            vec![write(1, 1, 2), write(2, 3, UNKNOWN), read(1, 50, 51)],
        ] {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_order_is_found() {
        for history in [
            // A value that nobody wrote, or not yet.
            vec![read(7, 1, 2)],
            vec![read(1, 1, 2), write(1, 3, 4)],
            // An acknowledged write is lost.
            vec![write(1, 1, 2), read(NEVER, 3, 4)],
            vec![write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)],
            // Seen, then not.
            vec![write(1, 1, 2), write(2, 3, 20), read(2, 4, 5), read(1, 6, 7)],
            vec![write(1, 1, 2), write(2, 3, UNKNOWN), read(2, 60, 61), read(1, 70, 71)],
            // Back and forth.
            vec![write(1, 1, 10), write(2, 1, 10), read(1, 11, 12), read(2, 13, 14)],
        ] {
            assert!(check(&history).is_err(), "{history:?}");
        }
    }
}
