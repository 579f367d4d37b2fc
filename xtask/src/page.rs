//! Pages that several measurements share: each owns the lines between two markers and replaces only those.
//!
//! A section `wire` of a page stands between `<!-- section wire -->` and `<!-- end wire -->`. What lies outside the markers
//! is written by hand and never touched; a section that is not there yet is added at the end.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// Replaces the section `name` of the page at `path` by `text`, or adds it. A page that is not there is made.
pub(crate) fn write_section(path: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let page = match std::fs::read_to_string(path) {
        Ok(page) => page,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let page = replaced(&page, name, text).with_context(|| path.display().to_string())?;
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// All of standard input.
pub(crate) fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.context("cannot read standard input")?;
    Ok(text)
}

/// The page with `text` as its section `name`. Fails when only one of the section's markers is there.
fn replaced(page: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- section {name} -->"), format!("<!-- end {name} -->"));
    let section = format!("{begin}\n{}\n{end}", text.trim());
    match (page.split_once(&begin), page.split_once(&end)) {
        (Some((before, _)), Some((_, after))) if before.len() < page.len() - after.len() - end.len() => {
            Ok(format!("{before}{section}{after}"))
        }
        (None, None) if page.trim().is_empty() => Ok(format!("{section}\n")),
        (None, None) => Ok(format!("{}\n\n{section}\n", page.trim_end())),
        _ => bail!("the markers of section {name} do not fit together"),
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    const PAGE: &str =
        "# Page\n\n<!-- section a -->\nold\n<!-- end a -->\n\n<!-- section b -->\nother\n<!-- end b -->\n";

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let page = replaced(PAGE, "a", "new\n").expect("the markers are there");
        assert_eq!(page, PAGE.replace("old", "new"));
        assert_eq!(
            replaced(&page, "a", "new\n").expect("the markers are there"),
            page
        );
    }

    #[test]
    fn a_new_section_is_added_at_the_end() {
        let page = replaced(PAGE, "c", "third").expect("a page without the section takes it");
        assert_eq!(
            page,
            format!("{PAGE}\n<!-- section c -->\nthird\n<!-- end c -->\n")
        );
        let only = replaced("", "c", "third").expect("an empty page takes it");
        assert_eq!(only, "<!-- section c -->\nthird\n<!-- end c -->\n");
    }

    #[test]
    fn markers_that_do_not_fit_are_refused() {
        for page in [
            "<!-- section a -->",
            "<!-- end a -->",
            "<!-- end a -->\n<!-- section a -->",
        ] {
            replaced(page, "a", "new").expect_err(page);
        }
    }
}
