//! What goes wrong in the sandbox, in the words of functions. Pure.

use serde_json::Value;

use crate::{
    engines::sandbox::{Failure, Thrown as Described},
    features::functions::executor::{AuthThrown, BuildFailure, CheckFailure, FunctionFailure, Thrown},
};

/// Codes of errors that the platform answers in the function's stead (05 §8.7).
const AUTH_PREFIX: &str = "R402_AUTH_";

/// Why a call gave no answer.
pub(super) fn of_call(failure: Failure) -> FunctionFailure {
    match failure {
        Failure::Timeout => FunctionFailure::Timeout,
        Failure::Memory => FunctionFailure::OutOfMemory,
        Failure::Threw(thrown) => of_thrown(*thrown),
        Failure::InvalidResponse(why) => FunctionFailure::InvalidResponse(why),
        Failure::ResponseTooLarge(_) => FunctionFailure::ResponseTooLarge,
        Failure::Exited(code) => FunctionFailure::Exited(code),
        Failure::Busy => FunctionFailure::Busy,
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

fn of_thrown(thrown: Described) -> FunctionFailure {
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
    FunctionFailure::Threw(Thrown { name: thrown.name, message: thrown.message, stack })
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

/// Why code does not compile (05 §2.4, §12.4).
pub(super) fn of_build(failure: Failure, name: &str) -> CheckFailure {
    const BUILD: &str = "FUNCTION_BUILD_FAILED";
    let built = |code, reason, message: String| BuildFailure { code, reason, message, line: None, column: None };
    CheckFailure::Build(match failure {
        Failure::SyntaxError { file, line, column, message } => BuildFailure {
            line: Some(line),
            column: Some(column),
            ..built(BUILD, "syntax_error", format!("{message} ({file}:{line}:{column})"))
        },
        Failure::UnresolvedImport { specifier, importer, builtin: true } => built(
            BUILD,
            "unsupported_builtin",
            format!("{specifier} is not available in the function sandbox; {importer} of {name} imports it"),
        ),
        Failure::UnresolvedImport { specifier, importer, builtin: false } => built(
            "R402_BUNDLE_UNRESOLVED_IMPORT",
            "unresolved_import",
            format!(
                "{importer} of {name} imports {specifier}, which is neither in the function's files nor built in: add \
                 it to deps, or bundle locally and deploy one file"
            ),
        ),
        Failure::MissingExport { module, export } => {
            built(BUILD, "missing_export", format!("{module} has no export {export}, which {name} imports"))
        }
        Failure::NoHandler => built(
            BUILD,
            "no_handler",
            format!("{name} exports no handler: add `export default async (req) => new Response()`"),
        ),
        Failure::Memory => built(BUILD, "bundle_too_large", format!("{name} does not fit into the sandbox's memory")),
        Failure::Timeout => built(BUILD, "bundle_too_large", format!("{name} takes too long to compile")),
        Failure::Threw(thrown) => built(BUILD, "syntax_error", format!("{}: {}", thrown.name, thrown.message)),
        other => return CheckFailure::Platform(other.to_string()),
    })
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
            let failure = of_call(described(code, status));
            assert_eq!(matches!(failure, FunctionFailure::Auth(_)), auth, "{code:?} {status:?}");
        }
    }

    #[test]
    fn what_was_thrown_keeps_its_frames_and_causes() {
        let FunctionFailure::Threw(thrown) = of_call(described(None, None)) else { panic!() };
        assert_eq!(thrown.stack, "    at f (a.mjs:1:2)");
        let Failure::Threw(mut whole) = described(None, None) else { panic!() };
        whole.inspected = Some("Error: no\n    at f (a.mjs:1:2) {\n  [cause]: Error: why\n}".to_owned());
        let FunctionFailure::Threw(thrown) = of_call(Failure::Threw(whole)) else { panic!() };
        assert!(thrown.stack.contains("[cause]: Error: why") && !thrown.stack.contains("Error: no"));
    }

    #[test]
    fn build_failures_have_the_codes_of_the_contract() {
        let import = |specifier: &str, builtin| Failure::UnresolvedImport {
            specifier: specifier.into(),
            importer: "index.mjs".into(),
            builtin,
        };
        for (failure, code, reason, word) in [
            (import("node:cluster", true), "FUNCTION_BUILD_FAILED", "unsupported_builtin", "node:cluster"),
            (import("left-pad", false), "R402_BUNDLE_UNRESOLVED_IMPORT", "unresolved_import", "left-pad"),
            (Failure::NoHandler, "FUNCTION_BUILD_FAILED", "no_handler", "export default"),
            (
                Failure::MissingExport { module: "path".into(), export: "nope".into() },
                "FUNCTION_BUILD_FAILED",
                "missing_export",
                "nope",
            ),
        ] {
            let CheckFailure::Build(failure) = of_build(failure, "echo") else { panic!() };
            assert_eq!((failure.code, failure.reason), (code, reason));
            assert!(failure.message.contains(word) && failure.message.contains("echo"), "{}", failure.message);
        }
        assert!(matches!(of_build(Failure::Busy, "echo"), CheckFailure::Platform(_)));
    }
}
