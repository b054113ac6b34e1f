//! Many small buckets: all made in one transaction, then opened one by one.

use std::hint::black_box;

use bristlecone_benches::data::{Data, Pair, touch};

use crate::device::Device;
use crate::engines::{Engine, Result};
use crate::measure::{Durable, Measure, abreast, check_sum, counts, settle};
use crate::reads::Reads;
use crate::workload::GETS_TOGETHER;

/// Creates all buckets with their records in one durable transaction. The value is in seconds.
pub(crate) fn create(
    engine: &dyn Engine,
    pairs: &[Pair<'_>],
    device: Option<&Device>,
) -> Result<Measure> {
    let before = counts(device)?;
    let created = abreast("create-buckets", 1, |_| engine.create_buckets(pairs))?;
    let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
    let (settle_seconds, _) = settle(engine, device, before)?;
    let flushes = during.map(|during| during.flushes);
    Ok(Measure {
        value: created.elapsed.as_secs_f64(),
        durable: Some(Durable { commits: 1, flushes_min: 1, flushes }),
        settle_seconds: Some(settle_seconds),
        ..Measure::default()
    })
}

/// Opens random buckets and gets a record of each. The value is in nanoseconds for one.
pub(crate) fn get(engine: &dyn Engine, reads: &Reads) -> Result<Measure> {
    let keys = reads.keys();
    // Outside of the time, as in other gets.
    engine.get_in_buckets(&keys[..1])?;
    let got = abreast("get-in-buckets", 1, |_| {
        let mut sum = 0_u64;
        for keys in keys.chunks(GETS_TOGETHER) {
            sum = sum.wrapping_add(engine.get_in_buckets(keys)?);
        }
        Ok(black_box(sum))
    })?;
    check_sum(got.results[0], reads.sum())?;
    let value = got.elapsed.as_secs_f64() * 1e9 / keys.len() as f64;
    Ok(Measure { value, ..Measure::default() })
}

/// Gets each record of each bucket.
pub(crate) fn verify(engine: &dyn Engine, data: &Data) -> Result<()> {
    let keys: Vec<&[u8]> = (0..data.count()).map(|index| data.key(index)).collect();
    for (number, keys) in keys.chunks(GETS_TOGETHER).enumerate() {
        let first = number * GETS_TOGETHER;
        let values = (first..first + keys.len()).map(|index| touch(data.value(index)));
        check_sum(engine.get_in_buckets(keys)?, values.fold(0, u64::wrapping_add))?;
    }
    Ok(())
}
