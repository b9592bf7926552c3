//! Which of the values that do not fit is told.

use std::collections::HashSet;

use super::{DecodeError, Place, STRICT_ERRORS_MAX, json};

/// A value that does not fit.
struct Mistake {
    place: String,
    message: String,
    /// Go goes on behind most values, and tells the first; a type with a decoder of its own ends the reading.
    ends: bool,
}

/// The values of a document that do not fit, in the order of names; not endlessly many.
#[derive(Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, message: String, place: &Place<'_>) {
        if self.0.len() < STRICT_ERRORS_MAX {
            self.0.push(Mistake { place: place.path(), message, ends: false });
        }
    }

    /// If the value at this place does not fit, Go reads no further.
    pub fn ends_at(&mut self, place: &Place<'_>) {
        if let Some(last) = self.0.last_mut() {
            last.ends |= last.place == place.path();
        }
    }

    /// What is told about a document whose fields are in the order of their names.
    pub fn first(mut self) -> DecodeError {
        self.keep_decisive();
        let first = self.0.into_iter().next();
        DecodeError::Type(first.map(|mistake| mistake.message).unwrap_or_default())
    }

    /// What is told about a document that was read from this JSON.
    pub fn first_in(mut self, source: &[u8]) -> DecodeError {
        self.keep_decisive();
        if self.0.len() > 1 {
            let places: HashSet<String> = self.0.iter().map(|mistake| mistake.place.clone()).collect();
            let first = json::first_of(source, &places);
            if let Some(at) = self.0.iter().position(|mistake| Some(&mistake.place) == first.as_ref()) {
                self.0.swap(0, at);
            }
        }
        self.first()
    }

    /// Forgets the mistakes of which Go would not tell any.
    fn keep_decisive(&mut self) {
        if self.0.iter().any(|mistake| mistake.ends) {
            self.0.retain(|mistake| mistake.ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::{Media, check, check_source, object};
    use crate::schema::Schema;

    #[test]
    fn the_first_of_the_text_is_told() {
        let ty = Schema::builtin().kind("", "v1", "Pod").expect("a kind");
        for (text, in_text, by_name) in [
            (r#"{"spec": {"nodeName": 1, "containers": "x"}}"#, "nodeName", "containers"),
            (r#"{"spec": {"hostname": 1}, "metadata": {"name": 2}}"#, "hostname", "metadata.name"),
            (r#"{"metadata": {"name": 1, "labels": {"\ud800": 2, "a": 3}}}"#, "metadata.name", "labels"),
            (r#"{"spec": {"containers": [{"name": "a", "args": [1, {}]}]}}"#, "number", "number"),
            // What a decoder of the type's own refuses ends the reading.
            (r#"{"metadata": {"name": 1, "creationTimestamp": "x"}}"#, "parsing time", "parsing time"),
            (r#"{"metadata": {"name": 1}, "spec": {"overhead": {"cpu": "x"}}}"#, "quantities", "quantities"),
        ] {
            let decoded = object(text.as_bytes(), Media::Json).expect("a document").value;
            let said = check_source(&mut decoded.clone(), ty, text.as_bytes()).expect_err(text).to_string();
            assert!(said.contains(in_text), "{text}: {said}");
            let said = check(&mut decoded.clone(), ty).expect_err(text).to_string();
            assert!(said.contains(by_name), "{text}: {said}");
        }
    }
}
