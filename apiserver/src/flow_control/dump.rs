//! `/debug/api_priority_and_fairness/`: what goes on in levels, queues and with requests, as upstream lays it out. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::queue_set::QueueSet;

/// A level as it is looked at.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) quiescing: bool,
    pub(super) set: &'a QueueSet,
}

type Row = Vec<String>;

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

/// A row a level.
pub(super) fn header_of_levels() -> Row {
    row([
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])
}

pub(super) fn level(shown: &Shown<'_>) -> Row {
    let (set, counts) = (shown.set, shown.set.counts);
    let active = set
        .queues
        .iter()
        .filter(|queue| !queue.waiting.is_empty())
        .count();
    vec![
        shown.name.to_owned(),
        active.to_string(),
        set.is_idle().to_string(),
        shown.quiescing.to_string(),
        set.waiting.to_string(),
        set.executing.to_string(),
        counts.dispatched.to_string(),
        counts.rejected.to_string(),
        // A column of upstream's that it has stopped filling.
        "0".to_owned(),
        counts.cancelled.to_string(),
    ]
}

/// A row a queue.
pub(super) fn header_of_queues() -> Row {
    row([
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])
}

pub(super) fn queues(shown: &Shown<'_>) -> Vec<Row> {
    let rows = shown.set.queues.iter().enumerate().map(|(index, queue)| {
        let waiting = shown.set.entries().filter(|(id, _)| queue.waiting.contains(id));
        let initial: u32 = waiting.map(|(_, entry)| entry.estimate.initial_seats).sum();
        vec![
            shown.name.to_owned(),
            index.to_string(),
            queue.waiting.len().to_string(),
            queue.executing.to_string(),
            queue.seats_in_use.to_string(),
            seat_seconds(queue.next_dispatch_r),
            initial.to_string(),
            queue.seats_waiting.to_string(),
            seat_seconds(queue.work),
        ]
    });
    rows.collect()
}

fn seat_seconds(work: i128) -> String {
    let hundred_millionths = work / 10;
    format!(
        "{}.{:08}ss",
        hundred_millionths / 100_000_000,
        (hundred_millionths % 100_000_000).abs()
    )
}

/// A row a request.
pub(super) fn header_of_requests(details: bool) -> Row {
    let mut header = row([
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if details {
        header.extend(row([
            "UserName",
            "Verb",
            "APIPath",
            "Namespace",
            "Name",
            "APIVersion",
            "Resource",
            "SubResource",
        ]));
    }
    header
}

/// `began` is when the level's time began.
pub(super) fn requests(shown: &Shown<'_>, began: Timestamp, details: bool) -> Vec<Row> {
    let at = |time: Duration| (began + time).to_string();
    let placed = shown.set.entries().map(|(id, entry)| {
        let queue = entry.queue.and_then(|index| shown.set.queues.get(index));
        let place = queue.and_then(|queue| queue.waiting.iter().position(|waiting| *waiting == id));
        (place, entry)
    });
    let mut placed: Vec<_> = placed.collect();
    // Queue by queue, those that wait first; last those that came to none.
    placed.sort_by_key(|(place, entry)| (entry.queue.unwrap_or(usize::MAX), place.unwrap_or(usize::MAX)));
    let rows = placed.into_iter().map(|(place, entry)| {
        let index = |index: Option<usize>| index.map_or("-1".to_owned(), |index| index.to_string());
        let estimate = &entry.estimate;
        let started = entry.started.map_or("0001-01-01T00:00:00Z".to_owned(), at);
        let latency = match estimate.additional_latency.as_millis() {
            0 => "0s".to_owned(),
            milliseconds => format!("{milliseconds}ms"),
        };
        let mut cells = vec![
            shown.name.to_owned(),
            entry.described.schema.to_string(),
            index(entry.queue),
            index(place),
            entry.described.flow.clone(),
            at(entry.arrived),
            estimate.initial_seats.to_string(),
            estimate.final_seats.to_string(),
            latency,
            started,
        ];
        if details {
            let info = &entry.described.info;
            let version = match (info.api_group.as_str(), info.api_version.as_str()) {
                ("", version) => version.to_owned(),
                (group, version) => format!("{group}/{version}"),
            };
            cells.extend([
                entry.described.user.clone(),
                info.verb.clone(),
                info.path.clone(),
                info.namespace.clone(),
                info.name.clone(),
                version,
                info.resource.clone(),
                info.subresource.clone(),
            ]);
        }
        cells
    });
    rows.collect()
}

/// Columns side by side, as wide as their widest cell and no narrower than upstream's.
pub(super) fn table(rows: &[Row]) -> String {
    const NARROWEST: usize = 8;
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count() + 2)
            .max()
            .unwrap_or_default()
            .max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{:<width$}", format!("{cell},"), width = widths[index]));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_side_by_side() {
        let rows = [row(["PriorityLevelName", "Index", "Last"]), row(["a", "1", "x"])];
        assert_eq!(
            table(&rows),
            "PriorityLevelName, Index,  Last\na,                 1,      x\n"
        );
        assert_eq!(seat_seconds(1_500_000_000), "1.50000000ss");
    }
}
