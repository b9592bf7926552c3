//! Which of the values that do not fit is told.

use std::collections::HashSet;

use serde_json::Number;

use super::{DecodeError, Place, STRICT_ERRORS_MAX, json};

/// A value that does not fit.
struct Mistake {
    place: String,
    message: String,
    /// Go goes on behind most values, and tells the first; a type with a decoder of its own ends the reading.
    ends: bool,
    /// A number that the message quotes; Go quotes it as it stands in the text.
    number: Option<String>,
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
            self.0.push(Mistake { place: place.path(), message, ends: false, number: None });
        }
    }

    /// The value at this place is this number, and the message quotes it.
    pub fn quotes(&mut self, place: &Place<'_>, number: &Number) {
        if let Some(last) = self.0.last_mut().filter(|last| last.place == place.path()) {
            last.number = Some(number.to_string());
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
        let places: HashSet<String> = self.0.iter().map(|mistake| mistake.place.clone()).collect();
        if let Some((place, text)) = json::first_of(source, &places)
            && let Some(at) = self.0.iter().position(|mistake| mistake.place == place)
        {
            self.0.swap(0, at);
            let first = &mut self.0[0];
            if let Some(number) = first.number.take() {
                first.message = first.message.replacen(&number, &text, 1);
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
            (r#"{"metadata": {"generation": 1e3}}"#, "number 1e3 into", "number 1000.0 into"),
            (r#"{"spec": {"priority": 1.50}}"#, "number 1.50 into", "number 1.5 into"),
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
