//! The table of steps: which action leads an order from where to where.
//!
//! Owns: the form of the table as text, and the check that it makes sense.
//! Never: an order, or money.

use std::fmt;
use std::str::FromStr;

use super::State;
use crate::domain::decode::MAX_TEXT_BYTES;
use crate::domain::event::Action;

/// Where an order stands before its first event, and its word in the text form of the table.
pub(super) const NO_ORDER: Option<State> = None;
const NO_ORDER_WORD: &str = "none";

/// Every step that an order can take. One for each action.
///
/// As text: `paid: created -> paid; cancelled: created|paid -> cancelled`, where `none` stands for an order that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    steps: Vec<Step>,
}

/// A line of the table: `action` leads from any of `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    action: Action,
    pub(super) from: Vec<Option<State>>,
    pub(super) to: State,
}

/// The text is not a table of steps: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BadSteps(Vec<String>);

impl Steps {
    /// The line of an action.
    pub(super) fn of(&self, action: &Action) -> Option<&Step> {
        self.steps.iter().find(|step| step.action == *action)
    }

    /// Whether steps lead from `state` to any of `goals`.
    pub(super) fn can_still_reach(&self, state: Option<State>, goals: &[Option<State>]) -> bool {
        self.reachable(state).iter().skip(1).any(|reached| goals.contains(reached))
    }

    /// `state`, and then everything that steps lead to from there.
    fn reachable(&self, state: Option<State>) -> Vec<Option<State>> {
        let mut reached = vec![state];
        let mut looked_at = 0;
        while let Some(&here) = reached.get(looked_at) {
            looked_at += 1;
            for next in self.steps.iter().filter(|step| step.from.contains(&here)).map(|step| Some(step.to)) {
                if !reached[1..].contains(&next) {
                    reached.push(next);
                }
            }
        }
        reached
    }

    /// What is wrong with the table as a whole.
    fn mistakes(&self) -> Vec<String> {
        if self.steps.is_empty() {
            return vec!["there is no step".to_owned()];
        }
        let mut mistakes = Vec::new();
        for (later, step) in self.steps.iter().enumerate() {
            if self.steps[..later].iter().any(|earlier| earlier.action == step.action) {
                mistakes.push(format!("{:?} stands there twice", step.action.as_str()));
            }
        }
        if !self.steps.iter().any(|step| step.from.contains(&NO_ORDER)) {
            mistakes.push("no step leads from \"none\", so no order can begin".to_owned());
            return mistakes;
        }
        let reached = self.reachable(NO_ORDER);
        for step in &self.steps {
            for state in step.from.iter().filter(|state| !reached.contains(state)).filter_map(|state| *state) {
                mistakes.push(format!("{:?}: no order ever becomes {state}", step.action.as_str()));
            }
        }
        mistakes
    }
}

/// The life of an order in a usual shop.
impl Default for Steps {
    fn default() -> Self {
        const PAID: Option<State> = Some(State::Paid);
        const SHIPPED: Option<State> = Some(State::Shipped);
        let step = |action, from: &[Option<State>], to| Step { action, from: from.to_vec(), to };
        let back = [PAID, SHIPPED, Some(State::Delivered), Some(State::Cancelled), Some(State::Refunded)];
        Self {
            steps: vec![
                step(Action::Created, &[NO_ORDER], State::Created),
                step(Action::Paid, &[Some(State::Created)], State::Paid),
                step(Action::Shipped, &[PAID], State::Shipped),
                step(Action::Delivered, &[SHIPPED], State::Delivered),
                step(Action::Cancelled, &[Some(State::Created), PAID], State::Cancelled),
                step(Action::Refunded, &back, State::Refunded),
            ],
        }
    }
}

impl FromStr for Steps {
    type Err = BadSteps;

    fn from_str(text: &str) -> Result<Self, BadSteps> {
        let (mut steps, mut mistakes) = (Vec::new(), Vec::new());
        for line in text.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            match step(line) {
                Ok(step) => steps.push(step),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let steps = Self { steps };
        // With a line missing, the table as a whole is not the one that was meant.
        if mistakes.is_empty() {
            mistakes = steps.mistakes();
        }
        if mistakes.is_empty() { Ok(steps) } else { Err(BadSteps(mistakes)) }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            let from: Vec<&str> = step.from.iter().map(|state| state.map_or(NO_ORDER_WORD, State::as_str)).collect();
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}{}: {} -> {}", step.action, from.join("|"), step.to)?;
        }
        Ok(())
    }
}

/// Reads `action: from|from -> to`.
fn step(line: &str) -> Result<Step, String> {
    let parts = line.rsplit_once(':').and_then(|(action, rest)| Some((action.trim(), rest.rsplit_once("->")?)));
    let Some((action, (from, to))) = parts else {
        return Err(format!("{line:?} is not of the form \"action: from|from -> to\""));
    };
    if action.is_empty() || action.len() > MAX_TEXT_BYTES || action.chars().any(char::is_control) {
        return Err(format!("{action:?} is not an action: 1 to {MAX_TEXT_BYTES} bytes without control characters"));
    }
    let unknown = |word: &str| format!("{action:?}: {word:?} is not a state");
    let state = |word: &str| match word.trim() {
        NO_ORDER_WORD => Ok(NO_ORDER),
        word => word.parse().map(Some).map_err(|_| unknown(word)),
    };
    let from = from.split('|').map(state).collect::<Result<_, _>>()?;
    let to = to.trim().parse().map_err(|_| unknown(to.trim()))?;
    Ok(Step { action: Action::from(action), from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        text.parse::<Steps>().unwrap_err().to_string()
    }

    #[test]
    fn a_table_and_its_text_are_the_same_thing() {
        let usual = Steps::default();
        assert_eq!(usual.to_string().parse(), Ok(usual));
        let text = "order placed: none -> created; pick:up: none|created -> shipped";
        assert_eq!(text.parse::<Steps>().unwrap().to_string(), text);
        let loose = " order placed :none->created;;pick:up: none | created  ->shipped ; ";
        assert_eq!(loose.parse::<Steps>().unwrap().to_string(), text);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_everything_that_is_wrong() {
        assert_eq!(wrong(" ; "), "there is no step");
        assert_eq!(wrong("paid: created -> paid"), r#"no step leads from "none", so no order can begin"#);
        assert_eq!(
            wrong("created: none -> created; paid -> paid; shipped: payed -> shipped; x: paid -> gone; : none -> paid"),
            r#""paid -> paid" is not of the form "action: from|from -> to"; "shipped": "payed" is not a state; "x": "gone" is not a state; "" is not an action: 1 to 512 bytes without control characters"#
        );
        assert_eq!(
            wrong("created: none -> created; shipped: paid|created -> shipped; shipped: delivered -> created"),
            r#""shipped" stands there twice; "shipped": no order ever becomes paid; "shipped": no order ever becomes delivered"#
        );
        assert_eq!(wrong("created: none -> none"), r#""created": "none" is not a state"#);
    }

    #[test]
    fn a_circle_ends() {
        let steps: Steps = "a: none -> created; b: created -> paid; c: paid -> created".parse().unwrap();
        assert!(steps.can_still_reach(Some(State::Created), &[Some(State::Created)]));
        assert!(!steps.can_still_reach(Some(State::Created), &[NO_ORDER, Some(State::Shipped)]));
    }
}
