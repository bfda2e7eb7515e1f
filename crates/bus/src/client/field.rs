//! The types of the fields of a client: to and from the values of properties.

use std::fmt::Display;
use std::time::Duration;

use nightlatch_core::checker::Checker;
use nightlatch_core::guard::{GuardState, Suspicion};
use nightlatch_core::time::Wall;

use super::{CheckStatus, ViewError};
use crate::moment;
use crate::property::{BadValue, Property, PropertyValue};

/// The type of a setting, and that of its field in [`ClientView`](super::ClientView). Keys and checkers are text there: a stock server may
/// have some that we refuse.
pub trait Shown {
    /// The type of the field.
    type Field: Field;

    /// Its value in the field.
    fn to_field(&self) -> Self::Field;
}

impl<T: Display> Shown for Option<T> {
    type Field = String;

    fn to_field(&self) -> String {
        self.as_ref().map(T::to_string).unwrap_or_default()
    }
}

impl Shown for Checker {
    type Field = String;

    fn to_field(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Shown for String {
    type Field = Self;

    fn to_field(&self) -> Self {
        self.clone()
    }
}

impl Shown for Duration {
    type Field = Self;

    fn to_field(&self) -> Self {
        *self
    }
}

impl Shown for bool {
    type Field = Self;

    fn to_field(&self) -> Self {
        *self
    }
}

/// A field of [`ClientView`](super::ClientView) that is a property.
pub trait Field {
    /// Takes over a value of `property`; true when it is another one.
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError>;

    /// As a value of its property.
    fn to_value(&self) -> PropertyValue;
}

impl Field for String {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        Ok(replace(self, text(property, value)?.to_owned()))
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Text(self.clone())
    }
}

impl Field for bool {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        match value {
            PropertyValue::Boolean(value) => Ok(replace(self, *value)),
            _ => Err(wrong(property, value)),
        }
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Boolean(*self)
    }
}

impl Field for Duration {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        match value {
            PropertyValue::Milliseconds(value) => Ok(replace(self, Self::from_millis(*value))),
            _ => Err(wrong(property, value)),
        }
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::of_length(*self)
    }
}

impl Field for Option<Wall> {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        let wall = moment::parse(text(property, value)?);
        let wall = wall.map_err(|error| ViewError::Moment(property, error))?;
        Ok(replace(self, wall))
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Text(moment::print(*self))
    }
}

impl Field for CheckStatus {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        let PropertyValue::Status(number) = value else {
            return Err(wrong(property, value));
        };
        let status = Self::from_number(*number).ok_or(ViewError::Status(*number))?;
        Ok(replace(self, status))
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Status(self.to_number())
    }
}

impl Field for u32 {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        match value {
            PropertyValue::Count(value) => Ok(replace(self, *value)),
            _ => Err(wrong(property, value)),
        }
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Count(*self)
    }
}

impl Field for Option<GuardState> {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        let word = text(property, value)?;
        put_word(self, property, word, GuardState::by_word(word))
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Text(self.map(GuardState::as_str).unwrap_or_default().to_owned())
    }
}

impl Field for Option<Suspicion> {
    fn put(&mut self, property: Property, value: &PropertyValue) -> Result<bool, ViewError> {
        let word = text(property, value)?;
        put_word(self, property, word, Suspicion::by_word(word))
    }

    fn to_value(&self) -> PropertyValue {
        PropertyValue::Text(self.map(Suspicion::as_str).unwrap_or_default().to_owned())
    }
}

/// Stores what `word` stands for; none where it is empty.
fn put_word<T: PartialEq>(
    field: &mut Option<T>,
    property: Property,
    word: &str,
    known: Option<T>,
) -> Result<bool, ViewError> {
    if known.is_none() && !word.is_empty() {
        let word = word.to_owned();
        return Err(ViewError::Word { property, word });
    }
    Ok(replace(field, known))
}

fn replace<T: PartialEq>(field: &mut T, value: T) -> bool {
    let differs = *field != value;
    *field = value;
    differs
}

fn text(property: Property, value: &PropertyValue) -> Result<&str, ViewError> {
    match value {
        PropertyValue::Text(text) => Ok(text),
        _ => Err(wrong(property, value)),
    }
}

fn wrong(property: Property, value: &PropertyValue) -> ViewError {
    ViewError::Value(BadValue::of_type(property, &value.to_variant()))
}
