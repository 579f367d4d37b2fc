//! The hashes of the OpenAPI 3 documents about what is built in, by which the index names them.
//!
//! Written down, so that whoever asks a server for the index first does not wait until all documents are made. A test makes
//! them, and says what is to be written here where one is another now. A document that is missing here, or has changed, is
//! still found: the first is made for the index, and of the second the client is sent on to where it is.

static WRITTEN: &str = include_str!("hashes.txt");

/// The hash of the document at a place below `/openapi/v3/`.
pub(super) fn of(below: &str) -> Option<&'static str> {
    let mut documents = WRITTEN.lines().filter_map(|line| line.split_once(' '));
    documents.find(|(place, _)| *place == below).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::super::{Opened, figures, operations};
    use super::*;
    use crate::openapi::built_in::BuiltIn;

    #[test]
    fn the_hashes_are_those_of_the_documents() {
        let (built_in, descriptions) = (BuiltIn::default(), Opened::default());
        let mut places = operations::documents();
        places.extend(figures::DOCUMENTS.map(str::to_owned));
        let lines = places.iter().map(|place| {
            let hash = built_in.v3(place, &descriptions).etag;
            format!("{place} {hash}\n")
        });
        let made: String = lines.collect();
        assert!(made == WRITTEN, "hashes.txt has to be:\n{made}");
        assert_eq!(of("api/v2"), None);
        assert_eq!(of("api/v1").map(str::len), Some(128));
    }
}
