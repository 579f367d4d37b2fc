//! Whether text is a cron schedule, as robfig/cron reads it: five fields or a descriptor such as `@hourly`.

/// Why text is no schedule, in robfig/cron's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScheduleError {
    #[error("expected exactly 5 fields, found {found}: [{fields}]")]
    Fields { found: usize, fields: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("too many {what}: {text}")]
    TooMany { what: &'static str, text: String },
    #[error("failed to parse int from {0}: strconv.Atoi: parsing \"{0}\": invalid syntax")]
    Number(String),
    #[error("beginning of range ({start}) below minimum ({least}): {text}")]
    Below { start: u32, least: u32, text: String },
    #[error("end of range ({end}) above maximum ({most}): {text}")]
    Above { end: u32, most: u32, text: String },
    #[error("beginning of range ({start}) beyond end of range ({end}): {text}")]
    Backwards { start: u32, end: u32, text: String },
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("failed to parse duration {0}: time: invalid duration")]
    Duration(String),
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field's least and greatest number, and names for numbers from the least on.
type Bounds = (u32, u32, &'static [&'static str]);

const FIELDS: [Bounds; 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &MONTHS),
    (0, 6, &DAYS),
];

/// Checks a schedule; a leading time zone (`TZ=...`) is passed over.
pub(super) fn parse(schedule: &str) -> Result<(), ScheduleError> {
    let zoned = schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=");
    let text = if zoned {
        schedule.split_once(' ').map_or("", |(_, rest)| rest.trim())
    } else {
        schedule
    };
    if let Some(descriptor) = text.strip_prefix('@') {
        return self::descriptor(text, descriptor);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(ScheduleError::Fields {
            found: fields.len(),
            fields: fields.join(" "),
        });
    }
    fields.iter().zip(FIELDS).try_for_each(|(text, bounds)| {
        text.split(',')
            .filter(|part| !part.is_empty())
            .try_for_each(|part| range(part, bounds))
    })
}

fn descriptor(text: &str, name: &str) -> Result<(), ScheduleError> {
    match name {
        "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
        _ => match name.strip_prefix("every ") {
            Some(duration) if is_duration(duration) => Ok(()),
            Some(_) => Err(ScheduleError::Duration(text.to_owned())),
            None => Err(ScheduleError::Descriptor(text.to_owned())),
        },
    }
}

/// Go's durations: numbers with units, such as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let after = &rest[digits..];
        let Some(unit) = units
            .iter()
            .filter(|unit| after.starts_with(**unit))
            .max_by_key(|unit| unit.len())
        else {
            return false;
        };
        if digits == 0 {
            return false;
        }
        rest = &after[unit.len()..];
        parts += 1;
    }
    parts > 0
}

fn range(text: &str, (least, most, names): Bounds) -> Result<(), ScheduleError> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let whole = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        [_] | [_, _] if whole => (least, most),
        [one] => {
            let number = number(one, least, names)?;
            (number, number)
        }
        [first, last] => (number(first, least, names)?, number(last, least, names)?),
        _ => {
            return Err(ScheduleError::TooMany {
                what: "hyphens",
                text: text.to_owned(),
            });
        }
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 && !whole {
                end = most;
            }
            number(step, 0, &[])?
        }
        _ => {
            return Err(ScheduleError::TooMany {
                what: "slashes",
                text: text.to_owned(),
            });
        }
    };
    let text = text.to_owned();
    if start < least {
        return Err(ScheduleError::Below { start, least, text });
    }
    if end > most {
        return Err(ScheduleError::Above { end, most, text });
    }
    if start > end {
        return Err(ScheduleError::Backwards { start, end, text });
    }
    if step == 0 {
        Err(ScheduleError::Step(text))
    } else {
        Ok(())
    }
}

fn number(text: &str, least: u32, names: &[&str]) -> Result<u32, ScheduleError> {
    let lower = text.to_lowercase();
    if let Some(index) = names.iter().position(|name| *name == lower) {
        return Ok(least + u32::try_from(index).unwrap_or_default());
    }
    text.parse().map_err(|_| ScheduleError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let good = [
            "* * * * *",
            "*/5 1-3,7 1 jan-mar mon",
            "@hourly",
            "@every 1h30m",
            "0 0 31 12 6",
            "TZ=UTC 1 2 3 4 5",
        ];
        for schedule in good {
            assert_eq!(parse(schedule), Ok(()), "{schedule}");
        }
        let bad = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@never", "unrecognized descriptor: @never"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
        ];
        for (schedule, want) in bad {
            assert_eq!(parse(schedule).unwrap_err().to_string(), want);
        }
    }
}
