//! Which methods are taken in.

use http::Method;

use crate::error::{Code, Problem};

/// Refuses a method that no application gets, whatever its routes say.
///
/// # Errors
/// [`Code::MethodNotAllowed`] for TRACE and CONNECT; [`Code::InvalidRequest`] for a method with two readings.
pub fn require_admissible(method: &Method) -> Result<(), Problem> {
    // A TRACE would echo the session cookie to whoever asks; a tunnel would pass everything unseen.
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(Problem::new(Code::MethodNotAllowed));
    }
    // Methods are case-sensitive (RFC 9110 section 9.1), and no registered one has a lower-case letter. So `delete` is no
    // DELETE to a route, but many an application folds it to one.
    if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Problem::invalid("method", format!("The method {method} is not in upper case.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str) -> Option<Code> {
        require_admissible(&method.parse().unwrap()).err().map(|problem| problem.code)
    }

    #[test]
    fn a_method_with_a_lower_case_letter_has_two_readings_and_others_have_one() {
        for fine in ["GET", "HEAD", "POST", "DELETE", "PROPFIND", "VERSION-CONTROL", "M-SEARCH", "X1", "1", "!"] {
            assert_eq!(code(fine), None, "{fine}");
        }
        for folded in ["get", "Get", "GEt", "gET", "delete", "DELETe", "propfind", "x-ODD", "trace", "Connect"] {
            assert_eq!(code(folded), Some(Code::InvalidRequest), "{folded}");
        }
        for refused in ["TRACE", "CONNECT"] {
            assert_eq!(code(refused), Some(Code::MethodNotAllowed), "{refused}");
        }
    }
}
