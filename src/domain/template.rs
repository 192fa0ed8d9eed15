//! Texts with places to be filled in, such as `notifications:user:{userId}`.
//!
//! Owns: reading one, filling it in, and the pattern that matches whatever it may become.
//! Never: where the values come from.

use std::fmt;
use std::str::FromStr;

/// A text with places to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// What can stand at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Whose order it is: `{userId}`.
    User,
    /// The order: `{orderId}`.
    Order,
    /// What happened: `{action}`.
    Action,
    /// Where the order stands: `{state}`.
    State,
}

/// The text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A place that does not exist, or a brace without its other half.
    #[error("the places are {{userId}}, {{orderId}}, {{action}} and {{state}}, and braces stand for nothing else")]
    Place,
    /// There is nothing.
    #[error("it is empty")]
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

impl Template {
    /// The text, with what `value` says at each place.
    pub fn fill<'v>(&self, value: impl Fn(Place) -> &'v str) -> String {
        let mut text = String::new();
        self.fill_into(&mut text, value);
        text
    }

    /// The same, written behind what is in `text`.
    pub fn fill_into<'v>(&self, text: &mut String, value: impl Fn(Place) -> &'v str) {
        self.parts.iter().for_each(|part| match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Place(place) => text.push_str(value(*place)),
        });
    }

    /// A pattern for `PSUBSCRIBE` that matches the text whatever stands at its places.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => text.chars().for_each(|c| {
                    if "*?[]\\^".contains(c) {
                        pattern.push('\\');
                    }
                    pattern.push(c);
                }),
                Part::Place(_) => pattern.push('*'),
            }
        }
        pattern
    }

    /// The user in a text that was made from this; `None` where the text is another, or where it would be a guess: with another
    /// place beside the user.
    pub fn user_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, after) = self.around_user()?;
        text.strip_prefix(before)?.strip_suffix(after).filter(|user| !user.is_empty())
    }

    /// Whether the user, and nothing else, can be read from a text that was made from this.
    pub fn tells_user(&self) -> bool {
        self.around_user().is_some()
    }

    fn around_user(&self) -> Option<(&str, &str)> {
        match &self.parts[..] {
            [Part::Place(Place::User)] => Some(("", "")),
            [Part::Text(before), Part::Place(Place::User)] => Some((before, "")),
            [Part::Place(Place::User), Part::Text(after)] => Some(("", after)),
            [Part::Text(before), Part::Place(Place::User), Part::Text(after)] => Some((before, after)),
            _ => None,
        }
    }
}

impl Place {
    const ALL: [Self; 4] = [Self::User, Self::Order, Self::Action, Self::State];

    fn as_str(self) -> &'static str {
        match self {
            Self::User => "userId",
            Self::Order => "orderId",
            Self::Action => "action",
            Self::State => "state",
        }
    }
}

impl FromStr for Template {
    type Err = BadTemplate;

    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or(BadTemplate::Place)?;
            let place = Place::ALL.into_iter().find(|place| place.as_str() == name).ok_or(BadTemplate::Place)?;
            parts.extend(literal(before)?);
            parts.push(Part::Place(place));
            rest = after;
        }
        parts.extend(literal(rest)?);
        if parts.is_empty() { Err(BadTemplate::Empty) } else { Ok(Self { parts }) }
    }
}

fn literal(text: &str) -> Result<Option<Part>, BadTemplate> {
    if text.contains('}') {
        return Err(BadTemplate::Place);
    }
    Ok((!text.is_empty()).then(|| Part::Text(text.to_owned())))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Place(place) => write!(f, "{{{}}}", place.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_filled_in_and_the_template_can_be_shown() {
        let channel = template("shop:{userId}:{orderId}/{action}-{state}");
        let filled = channel.fill(|place| match place {
            Place::User => "u",
            Place::Order => "o{userId}",
            Place::Action => "paid",
            Place::State => "s",
        });
        assert_eq!(filled, "shop:u:o{userId}/paid-s", "a value is not filled in itself");
        assert_eq!(channel.to_string(), "shop:{userId}:{orderId}/{action}-{state}");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{user}", "{userId", "userId}", "{}", "{{userId}}", "a}{userId}"] {
            assert_eq!(text.parse::<Template>(), Err(BadTemplate::Place), "{text:?}");
        }
        assert_eq!("".parse::<Template>(), Err(BadTemplate::Empty));
    }

    #[test]
    fn the_pattern_takes_the_text_of_a_template_by_its_letters() {
        assert_eq!(template("notifications:user:{userId}").pattern(), "notifications:user:*");
        assert_eq!(template("a*[b]?{orderId}").pattern(), "a\\*\\[b\\]\\?*");
    }

    #[test]
    fn the_user_is_read_from_a_channel_where_that_is_no_guess() {
        let channel = template("notifications:user:{userId}:x");
        assert_eq!(channel.user_in("notifications:user:u:7:x"), Some("u:7"));
        for other in ["notifications:user:u:7", "other:u:x", "notifications:user::x"] {
            assert_eq!(channel.user_in(other), None, "{other}");
        }
        assert!(!template("{userId}:{orderId}").tells_user() && !template("news").tells_user());
    }
}
