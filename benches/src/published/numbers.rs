//! How numbers are written.

/// Three digits that count, or thousands with a comma, or with a `k` or an `M` behind them.
pub(super) fn amount(value: f64) -> String {
    match value {
        f64::INFINITY => "∞".to_owned(),
        value if value >= 1e9 => format!("{} G", three_digits(value / 1e9)),
        value if value >= 999_500.0 => format!("{} M", three_digits(value / 1e6)),
        value if value >= 9_999.5 => format!("{} k", three_digits(value / 1e3)),
        value if value >= 999.5 => {
            let whole = value.round();
            format!("{},{:03}", (whole / 1e3).floor(), whole % 1e3)
        }
        value => three_digits(value),
    }
}

/// Three digits that count of a number below a thousand.
pub(super) fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.9995 || value == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A share of one, to a tenth of a percent where it is small.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.is_infinite() {
        return "∞".to_owned();
    }
    let digits = usize::from(percent < 9.95 && (percent - percent.round()).abs() >= 0.05);
    format!("{percent:.digits$} %")
}

/// A time in microseconds, in the unit that suits it.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1.0 => format!("{} ns", three_digits(us * 1e3)),
        us if us < 999.5 => format!("{} µs", three_digits(us)),
        us if us < 999_500.0 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} s", three_digits(us / 1e6)),
    }
}

/// A number with its unit, where a time may be written in another unit of time.
pub(super) fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "ns" => time(value / 1e3),
        "us" => time(value),
        "ms" => time(value * 1e3),
        "s" => time(value * 1e6),
        "" => three_digits(value),
        unit => format!("{} {unit}", amount(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let all = [0.0, 0.1254, 7.0, 72.24, 490.4, 999.7, 9_307.2, 62_630.0, 999_700.0, 20.5e6];
        let expected =
            ["0", "0.125", "7", "72.2", "490", "1,000", "9,307", "62.6 k", "1 M", "20.5 M"];
        assert_eq!(all.map(amount), expected);
        assert_eq!([amount(1_007.0), amount(f64::INFINITY)], ["1,007", "∞"]);
    }

    #[test]
    fn times_have_a_unit_that_suits() {
        let all = [0.34, 96.0, 1_234.0, 20_000.0, 2_500_000.0].map(time);
        assert_eq!(all, ["340 ns", "96 µs", "1.23 ms", "20 ms", "2.5 s"]);
        assert_eq!([0.043, 0.0201, 0.5, 1.0].map(percent), ["4.3 %", "2 %", "50 %", "100 %"]);
        assert_eq!(with_unit(0.31, "ms"), "310 µs");
        assert_eq!(with_unit(490.0, "MB"), "490 MB");
    }
}
