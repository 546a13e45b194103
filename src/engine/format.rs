//! One layout for policies, by Cedar's own formatter. Formatting must change nothing but white space: the policies parsed
//! before and after are compared, every comment must still be there, and a second run must change nothing. Where one of
//! these does not hold the text is left as it is.

use cedar_policy as cedar;

use super::load::STACK_BYTES;
use super::scan;
use super::settings::Limits;

/// Why a text is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{0}")]
    Unreadable(String),
    #[error("formatting would change what the policies say; the file is left as it is")]
    Changed,
    #[error("formatting would lose a comment; the file is left as it is")]
    CommentLost,
    #[error("formatting twice would change it twice; the file is left as it is")]
    Unsteady,
    #[error("no thread to format on")]
    NoThread,
}

/// The text of a `.cedar` file in the one layout.
///
/// # Errors
/// Why it is left as it is.
pub fn format(text: &str) -> Result<String, FormatError> {
    scan::statements(text, &Limits::default())
        .map_err(|refused| FormatError::Unreadable(format!("line {}: {}", refused.line, refused.message)))?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("policy-format".into()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, || formatted(text)).map_err(|_| FormatError::NoThread)?;
        running.join().map_err(|_| FormatError::Unreadable("the formatter failed on it".to_owned()))?
    })
}

fn formatted(text: &str) -> Result<String, FormatError> {
    let before = meaning(text)?;
    if before.is_empty() {
        // Nothing but comments: there is nothing to lay out.
        return Ok(text.to_owned());
    }
    let once = laid_out(text)?;
    check(text, &before, &once)?;
    if laid_out(&once)? != once {
        return Err(FormatError::Unsteady);
    }
    Ok(once)
}

fn check(text: &str, before: &[serde_json::Value], after: &str) -> Result<(), FormatError> {
    if meaning(after)? != before {
        return Err(FormatError::Changed);
    }
    if scan::comments(after) != scan::comments(text) {
        return Err(FormatError::CommentLost);
    }
    Ok(())
}

/// Comments above the first empty line are about the whole file: they stay apart from the first policy.
fn laid_out(text: &str) -> Result<String, FormatError> {
    let (header, rest) = text.split_at(header_end(text));
    Ok(format!("{header}{}", pretty(rest)?))
}

/// Behind the last empty line before which there are only comments.
fn header_end(text: &str) -> usize {
    let (mut at, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        match line.trim() {
            "" => end = at,
            comment if comment.starts_with("//") => {}
            _ => break,
        }
    }
    end
}

fn pretty(text: &str) -> Result<String, FormatError> {
    let layout = cedar_policy_formatter::Config { line_width: 120, indent_width: 2 };
    cedar_policy_formatter::policies_str_to_pretty(text, &layout)
        .map_err(|error| FormatError::Unreadable(error.to_string()))
}

/// Every policy and template as Cedar's JSON, in order: what they say, without how it is laid out.
fn meaning(text: &str) -> Result<Vec<serde_json::Value>, FormatError> {
    let unreadable = |error: String| FormatError::Unreadable(error);
    let set: cedar::PolicySet = text.parse().map_err(|error: cedar::ParseErrors| unreadable(error.to_string()))?;
    let static_ones = set.policies().map(|policy| (policy.id().to_string(), policy.to_json()));
    let templates = set.templates().map(|template| (template.id().to_string(), template.to_json()));
    let mut all: Vec<_> = static_ones
        .chain(templates)
        .map(|(id, json)| json.map(|json| (id, json)).map_err(|error| unreadable(error.to_string())))
        .collect::<Result<_, _>>()?;
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all.into_iter().map(|(_, json)| json).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_laid_out_once_and_keeps_every_comment() {
        let text = "// first\n@id(\"a\")permit(principal,action==Action::\"x\", // why\nresource)when{context.a&&\n\n context.b};\n\n\n// last\n";
        let once = format(text).unwrap();
        assert_ne!(once, text);
        assert_eq!(format(&once), Ok(once.clone()));
        for comment in ["// first", "// why", "// last"] {
            assert_eq!(once.matches(comment).count(), 1, "{once}");
        }
    }

    #[test]
    fn what_is_said_of_the_whole_file_stays_apart() {
        let once = format("// all of it\n\n// this one\npermit(principal,action,resource);").unwrap();
        assert!(once.starts_with("// all of it\n\n// this one\npermit"), "{once}");
    }

    #[test]
    fn a_template_and_a_text_in_a_string_are_kept() {
        let text = "permit(principal==?principal,action,resource)when{\"// no comment; \\\"}\"==context.s};";
        assert!(format(text).unwrap().contains("\"// no comment; \\\"}\""));
    }

    #[test]
    fn what_cannot_be_read_is_left_as_it_is() {
        assert!(matches!(format("permit(principal"), Err(FormatError::Unreadable(_))));
        let bomb = format!("permit(principal,action,resource)when{{{}}};", "(".repeat(100_000));
        assert!(matches!(format(&bomb), Err(FormatError::Unreadable(_))));
        assert_eq!(format("// only this\n"), Ok("// only this\n".to_owned()));
    }

    #[test]
    fn another_meaning_or_a_lost_comment_is_refused() {
        let (text, before) =
            ("// a\npermit(principal,action,resource);", meaning("permit(principal,action,resource);").unwrap());
        assert_eq!(check(text, &before, text), Ok(()));
        assert_eq!(check(text, &before, "// a\nforbid(principal,action,resource);"), Err(FormatError::Changed));
        assert_eq!(
            check(text, &before, "// a\n@id(\"b\")permit(principal,action,resource);"),
            Err(FormatError::Changed)
        );
        assert_eq!(check(text, &before, "permit(principal,action,resource);"), Err(FormatError::CommentLost));
    }
}
