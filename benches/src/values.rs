//! Single values from a few bytes to many, put durably and read to their last byte.

use std::time::{Duration, Instant};

use bristlecone_benches::data::touch_all;
use bristlecone_benches::random::Random;

use crate::device::Device;
use crate::engines::{Engine, Result, Role};
use crate::measure::{Durable, Measure, check_sum, counts, settle};
use crate::workload::VALUE_BYTES_MAX;

/// Values of one size begin at so many places in the random bytes, so that each put differs from
/// the one before.
const PLACES: usize = 8;
/// From this size on the figure is MB/s.
const LARGE_BYTES: usize = 100_000;

/// Random bytes, of which all values are a part.
pub(crate) struct Values {
    bytes: Vec<u8>,
}

impl Values {
    pub(crate) fn random(seed: u64) -> Values {
        let mut bytes = vec![0; VALUE_BYTES_MAX + PLACES];
        Random::new(seed).fill(&mut bytes);
        Values { bytes }
    }

    fn value(&self, length: usize, number: usize) -> &[u8] {
        let place = number % PLACES;
        &self.bytes[place..place + length]
    }

    /// Puts a value of so many bytes under one key, again and again, in durable transactions.
    pub(crate) fn put(
        &self,
        engine: &dyn Engine,
        role: Role,
        length: usize,
        duration: Duration,
        device: Option<&Device>,
    ) -> Result<Measure> {
        let key = key_of(length);
        // The first put is outside of the time: it makes files longer, the others reuse them.
        engine.put(&[(key.as_bytes(), self.value(length, PLACES - 1))])?;
        let before = counts(device)?;
        let begin = Instant::now();
        let mut puts = 0;
        while puts == 0 || begin.elapsed() < duration {
            engine.put(&[(key.as_bytes(), self.value(length, puts))])?;
            puts += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
        // The limit keeps no puts.
        if role != Role::Limit {
            let sum = touch_all(self.value(length, puts - 1));
            check_sum(engine.get_whole(key.as_bytes())?, sum)?;
        }
        let (settle_seconds, written) = settle(engine, device, before)?;
        let payload = (puts * length) as u64;
        // Bytes that have not reached the device cannot be durable, flush or no flush.
        let flushes = during.map(|it| if it.written_bytes >= payload { it.flushes } else { 0 });
        let commits = puts as u64;
        Ok(Measure {
            value: rate(puts, length, seconds),
            durable: Some(Durable { commits, flushes_min: commits, flushes }),
            settle_seconds: Some(settle_seconds),
            amplification: written.map(|bytes| bytes as f64 / payload as f64),
            ..Measure::default()
        })
    }

    /// Gets a value of so many bytes, and reads all of it, again and again.
    pub(crate) fn get(
        &self,
        engine: &dyn Engine,
        length: usize,
        duration: Duration,
    ) -> Result<Measure> {
        let key = key_of(length);
        engine.load(&[(key.as_bytes(), self.value(length, 0))])?;
        engine.settle()?;
        let sum = touch_all(self.value(length, 0));
        let begin = Instant::now();
        let mut gets = 0;
        while gets == 0 || begin.elapsed() < duration {
            check_sum(engine.get_whole(key.as_bytes())?, sum)?;
            gets += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Measure { value: rate(gets, length, seconds), ..Measure::default() })
    }
}

fn key_of(length: usize) -> String {
    format!("value-of-{length}")
}

/// Operations a second, or MB a second.
fn rate(operations: usize, length: usize, seconds: f64) -> f64 {
    let scale = if length >= LARGE_BYTES { length as f64 / 1e6 } else { 1.0 };
    operations as f64 * scale / seconds
}
