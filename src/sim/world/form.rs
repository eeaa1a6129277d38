//! [`Form`]: collects what is wrong with a body, in the shape of Discord's error 50035.

use serde_json::{Map, Value, json};

use super::error::{ApiError, Result};

/// Errors by the path of their field: `embeds.0.title`.
#[derive(Default)]
pub(super) struct Form(Map<String, Value>);

impl Form {
    /// Notes that something is wrong at `path`.
    pub fn wrong(&mut self, path: &str, code: &str, message: impl Into<String>) {
        let error = json!({"code": code, "message": message.into()});
        let mut here = &mut self.0;
        for step in path.split('.') {
            let next = here.entry(step).or_insert_with(|| json!({}));
            here = next.as_object_mut().expect("every step was made as an object");
        }
        let errors = here.entry("_errors").or_insert_with(|| json!([]));
        errors.as_array_mut().expect("it was made as an array").push(error);
    }

    /// Text of at most `max` characters.
    pub fn at_most(&mut self, path: &str, text: &str, max: usize) {
        if text.chars().count() > max {
            let message = format!("Must be {max} or fewer in length.");
            self.wrong(path, "BASE_TYPE_MAX_LENGTH", message);
        }
    }

    /// Text or a list whose length lies between two numbers.
    pub fn between(&mut self, path: &str, length: usize, min: usize, max: usize) {
        if !(min..=max).contains(&length) {
            let message = format!("Must be between {min} and {max} in length.");
            self.wrong(path, "BASE_TYPE_BAD_LENGTH", message);
        }
    }

    pub fn required(&mut self, path: &str) {
        self.wrong(path, "BASE_TYPE_REQUIRED", "This field is required");
    }

    /// A text that must be there, of `min` to `max` characters.
    pub fn text<'a>(&mut self, path: &str, value: &'a Value, min: usize, max: usize) -> &'a str {
        match value.as_str() {
            Some(text) => {
                self.between(path, text.chars().count(), min, max);
                text
            }
            None => {
                self.required(path);
                ""
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::form(Value::Object(self.0))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_discords_shape() {
        let mut form = Form::default();
        form.at_most("embeds.0.title", &"x".repeat(257), 256);
        assert_eq!(
            form.finish().unwrap_err().body(),
            json!({"code": 50035, "message": "Invalid Form Body", "errors": {"embeds": {"0": {"title": {"_errors":
                [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 256 or fewer in length."}]}}}}})
        );
    }
}
