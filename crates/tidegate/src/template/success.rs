//! A job's own word on which answers are results: `success = "{{ body.ok }}"`.

use std::fmt;

use minijinja::{Environment, UndefinedBehavior, Value, context};

/// Instructions that one look may execute.
const FUEL: u64 = 20_000;
const NAME: &str = "success";

/// An expression over `status` and `body` (parsed, if it is JSON, else text).
#[derive(Clone)]
pub struct SuccessRule {
    env: Environment<'static>,
}

impl SuccessRule {
    /// Reads an expression in braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str) -> Result<Self, String> {
        let expression = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let expression = expression.ok_or_else(|| {
            format!("`{text}` is not an expression: expected one such as {{{{ body.ok }}}}")
        })?;
        let mut env = Environment::new();
        // A member that is not there is no success, and no error.
        env.set_undefined_behavior(UndefinedBehavior::Chainable);
        env.set_fuel(Some(FUEL));
        env.remove_global("debug");
        let source = format!("{{% if {expression} %}}1{{% endif %}}");
        env.add_template_owned(NAME, source).map_err(|error| error.to_string())?;
        if let Ok(template) = env.get_template(NAME) {
            let mut names = template.undeclared_variables(false).into_iter();
            let is_known = |name: &str| {
                matches!(name, "status" | "body") || env.globals().any(|(global, _)| global == name)
            };
            if let Some(name) = names.find(|name| !is_known(name)) {
                return Err(format!("`{name}` is not known here: expected `status` or `body`"));
            }
        }
        Ok(Self { env })
    }

    /// Whether an answer is a result; one that the expression cannot be worked out for is none.
    pub(crate) fn holds(&self, status: u16, body: &[u8]) -> bool {
        let body: Value = serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()));
        let template = self.env.get_template(NAME);
        template.and_then(|template| template.render(context! { status, body })).is_ok_and(|text| text == "1")
    }
}

impl fmt::Debug for SuccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuccessRule").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_results() {
        let holds = |rule: &str, body: &str| SuccessRule::compile(rule).unwrap().holds(200, body.as_bytes());
        assert!(holds("{{ body.ok }}", r#"{"ok":true}"#) && !holds("{{ body.ok }}", r#"{"ok":false}"#));
        assert!(!holds("{{ body.ok }}", "{}") && !holds("{{ body.data.id }}", "not json"));
        assert!(holds("{{ body.errors is undefined and status == 200 }}", "{}"));
        assert!(holds("{{ 'done' in body }}", "all done"));
        for bad in ["body.ok", "{{ body. }}", "{{ row.id }}", "{{ env.KEY }}"] {
            assert!(SuccessRule::compile(bad).is_err(), "{bad}");
        }
    }
}
