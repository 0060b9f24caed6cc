//! History texts, which quote and format as Go does.

use std::time::Duration;

use store::oci::Healthcheck;

/// A list of strings as Go's `%q` prints it: `["a" "b"]`.
pub fn quoted_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A list of strings as Go's `%v` prints it: `[a b]`.
pub fn plain_list<S: AsRef<str>>(list: &[S]) -> String {
    format!("[{}]", list.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "))
}

/// A health check as Go's `%+v` prints it.
pub fn health(check: &Healthcheck) -> String {
    let time = |nanos: i64| duration(Duration::from_nanos(nanos.unsigned_abs()));
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain_list(&check.test),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval),
        check.retries
    )
}

/// A string as Go's `strconv.Quote` writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", control as u32));
            }
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", control as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A duration as Go prints it: `1m30s`, `500ms`, `0s`.
fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let unit = |size: u128, name: &str| format!("{}{name}", decimal(nanos, size));
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => unit(1, "ns"),
        1_000..1_000_000 => unit(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => unit(1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `nanos / size` with as many decimals as it takes.
fn decimal(nanos: u128, size: u128) -> String {
    let (whole, rest) = (nanos / size, nanos % size);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = size.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_texts_print_as_in_go() {
        let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            quoted_list(&list(&["/bin/sh", "-c", "echo \"a\\b\"\n\u{e9}\u{1}"])),
            r#"["/bin/sh" "-c" "echo \"a\\b\"\né\x01"]"#
        );
        assert_eq!(quoted_list(&[]), "[]");
        assert_eq!(plain_list(&["/a", "b c"]), "[/a b c]");
    }

    #[test]
    fn durations_print_as_in_go() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1.5s"),
            (5_000, "5s"),
            (60_000, "1m0s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
            (3_661_001, "1h1m1.001s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_nanos(1_500)), "1.5\u{b5}s");
    }

    #[test]
    fn health_checks_print_as_in_go() {
        let check = Healthcheck {
            test: vec!["CMD".into(), "x".into()],
            interval: 1_000_000_000,
            retries: 3,
            ..Healthcheck::default()
        };
        assert_eq!(health(&check), "{Test:[CMD x] Interval:1s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}");
    }
}
