//! What the engine finds when it links a program that was built here.

use super::{
    maps::SourceMaps,
    modules::{self, Named},
    problem::{Importer, Problem},
};
use crate::engines::sandbox::Failure;

/// The author's problem in a failure of `Sandbox::compile`; None when it is no fault of the code.
pub fn of_engine(failure: &Failure, maps: &SourceMaps) -> Option<Problem> {
    let importer = |file: &str| Importer { file: file.to_owned(), line: None };
    Some(match failure {
        Failure::SyntaxError { file, line, column, message } => {
            let (line, column) = maps.original(file, *line, *column);
            Problem::Syntax { file: file.clone(), line, column, message: message.clone() }
        }
        Failure::MissingExport { module, export } => {
            Problem::MissingExport { module: module.clone(), export: export.clone(), importer: importer("") }
        }
        Failure::UnresolvedImport { specifier, importer: from, builtin } => match modules::classify(specifier) {
            _ if *builtin => Problem::UnsupportedBuiltin { module: specifier.clone(), importer: importer(from) },
            Named::Package(package) | Named::Native(package) => Problem::UnresolvedPackage {
                specifier: specifier.clone(),
                package: package.to_owned(),
                importer: importer(from),
            },
            Named::Offered | Named::Absent => {
                Problem::UnsupportedBuiltin { module: specifier.clone(), importer: importer(from) }
            }
        },
        Failure::NoHandler => Problem::NoHandler { commonjs: false },
        Failure::Memory | Failure::Timeout => Problem::TooComplex,
        Failure::Threw(thrown) => Problem::Syntax {
            file: "the function".to_owned(),
            line: 1,
            column: 1,
            message: format!("{}: {}", thrown.name, thrown.message),
        },
        _ => return None,
    })
}
