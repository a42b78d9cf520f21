//! What goes wrong in the sandbox, in the words of functions. Pure.

use serde_json::Value;

use crate::{
    engines::sandbox::{Failure, Thrown as Described},
    features::functions::{
        build::{self, SourceMaps},
        executor::{AuthThrown, CheckFailure, FunctionFailure, Thrown},
    },
};

/// Codes of errors that the platform answers in the function's stead (05 §8.7).
const AUTH_PREFIX: &str = "R402_AUTH_";

/// Why a call gave no answer.
pub(super) fn of_call(failure: Failure, maps: &SourceMaps) -> FunctionFailure {
    match failure {
        Failure::Timeout => FunctionFailure::Timeout,
        Failure::Memory => FunctionFailure::OutOfMemory,
        Failure::Threw(thrown) => of_thrown(*thrown, maps),
        Failure::InvalidResponse(why) => FunctionFailure::InvalidResponse(why),
        Failure::ResponseTooLarge(_) => FunctionFailure::ResponseTooLarge,
        Failure::Exited(code) => FunctionFailure::Exited(code),
        Failure::Busy => FunctionFailure::Busy,
        Failure::Crowded => FunctionFailure::Crowded,
        Failure::Broken(why) => FunctionFailure::Trap(why),
        // An import at run time that leads nowhere, or a module that no longer compiles.
        failure @ (Failure::SyntaxError { .. } | Failure::MissingExport { .. }) => threw("SyntaxError", &failure),
        failure @ Failure::NoHandler => threw("TypeError", &failure),
        failure @ (Failure::UnresolvedImport { .. } | Failure::Deadlock) => threw("Error", &failure),
    }
}

fn threw(name: &str, failure: &Failure) -> FunctionFailure {
    FunctionFailure::Threw(Thrown { name: name.to_owned(), message: failure.to_string(), stack: String::new() })
}

fn of_thrown(thrown: Described, maps: &SourceMaps) -> FunctionFailure {
    let status = thrown.status.and_then(|status| (100..=999).find(|whole| f64::from(*whole) == status));
    if let (Some(code), Some(status)) = (&thrown.code, status)
        && code.starts_with(AUTH_PREFIX)
    {
        return FunctionFailure::Auth(Box::new(AuthThrown {
            code: code.clone(),
            status,
            message: thrown.message,
            details: thrown.details.unwrap_or(Value::Null),
            suggested_fix: thrown.suggested_fix,
            docs: thrown.docs,
        }));
    }
    // As the console shows it there are also causes and own properties; they follow the frames.
    let headline = format!("{}: {}\n", thrown.name, thrown.message);
    let stack = match thrown.inspected.as_deref().and_then(|shown| shown.strip_prefix(headline.as_str())) {
        Some(rest) => rest.to_owned(),
        None => thrown.stack,
    };
    FunctionFailure::Threw(Thrown { name: thrown.name, message: thrown.message, stack: maps.remap(&stack) })
}

/// Code that is live does not compile any more, or cannot be read.
pub(super) fn of_late_build(failure: CheckFailure) -> FunctionFailure {
    match failure {
        CheckFailure::Build(failure) => FunctionFailure::Threw(Thrown {
            name: "SyntaxError".to_owned(),
            message: failure.message,
            stack: String::new(),
        }),
        CheckFailure::Platform(cause) => FunctionFailure::Platform(cause),
    }
}

/// Why modules do not link (05 §2.4, §12.4).
pub(super) fn of_build(failure: &Failure, maps: &SourceMaps) -> CheckFailure {
    match build::of_engine(failure, maps) {
        Some(problem) => CheckFailure::Build(problem.into_failure()),
        None => CheckFailure::Platform(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(code: Option<&str>, status: Option<f64>) -> Failure {
        let mut thrown = Described::default();
        thrown.name = "Error".into();
        thrown.message = "no".into();
        thrown.stack = "    at f (a.mjs:1:2)".into();
        thrown.code = code.map(Into::into);
        thrown.status = status;
        thrown.details = Some(serde_json::json!({"role": "admin"}));
        Failure::Threw(Box::new(thrown))
    }

    #[test]
    fn an_auth_error_needs_its_code_and_a_status() {
        for (code, status, auth) in [
            (Some("R402_AUTH_REQUIRED"), Some(401.0), true),
            (Some("R402_AUTH_REQUIRED"), None, false),
            (Some("R402_AUTH_REQUIRED"), Some(401.5), false),
            (Some("R402_AUTH_REQUIRED"), Some(f64::NAN), false),
            (Some("R402_DB_QUERY_ERROR"), Some(400.0), false),
            (None, Some(401.0), false),
        ] {
            let failure = of_call(described(code, status), &SourceMaps::default());
            assert_eq!(matches!(failure, FunctionFailure::Auth(_)), auth, "{code:?} {status:?}");
        }
    }

    #[test]
    fn what_was_thrown_keeps_its_frames_and_causes() {
        let FunctionFailure::Threw(thrown) = of_call(described(None, None), &SourceMaps::default()) else { panic!() };
        assert_eq!(thrown.stack, "    at f (a.mjs:1:2)");
        let Failure::Threw(mut whole) = described(None, None) else { panic!() };
        whole.inspected = Some("Error: no\n    at f (a.mjs:1:2) {\n  [cause]: Error: why\n}".to_owned());
        let FunctionFailure::Threw(thrown) = of_call(Failure::Threw(whole), &SourceMaps::default()) else { panic!() };
        assert!(thrown.stack.contains("[cause]: Error: why") && !thrown.stack.contains("Error: no"));
    }

    #[test]
    fn what_is_no_fault_of_the_code_is_the_platforms() {
        let none = SourceMaps::default();
        assert!(matches!(of_build(&Failure::NoHandler, &none), CheckFailure::Build(_)));
        assert!(matches!(of_build(&Failure::Busy, &none), CheckFailure::Platform(_)));
    }
}
