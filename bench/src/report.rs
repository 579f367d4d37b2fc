//! Results as Markdown. Pure.

use std::fmt;

/// A titled table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    title: String,
    /// What was done, in a sentence or two.
    note: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<'a>(title: &str, note: &str, head: impl IntoIterator<Item = &'a str>) -> Table {
        let head = head.into_iter().map(str::to_owned).collect();
        Table {
            title: title.to_owned(),
            note: note.to_owned(),
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.title)?;
        if !self.note.is_empty() {
            writeln!(f, "{}\n", self.note)?;
        }
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.head.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("Sizes", "As weighed.", ["what", "kg"]);
        table.row(["boat".to_owned(), "12".to_owned()]);
        assert_eq!(
            table.to_string(),
            "### Sizes\n\nAs weighed.\n\n| what | kg |\n|---|---|\n| boat | 12 |\n"
        );
    }
}
