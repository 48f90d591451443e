//! The grammar of templates, by hand: one pass over the bytes, no recursion.

use super::{Field, Piece, TemplateError};

/// The pieces of a template; literals are never next to each other and never empty.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut parser = Parser { text, at: 0, literal: String::new(), pieces: Vec::new() };
    if text.is_empty() {
        return Err(parser.error(0, "it is empty"));
    }
    while parser.step()? {}
    parser.end_literal();
    let spread = |piece: &Piece| matches!(piece, Piece::Field(field) if field.spread);
    if parser.pieces.len() > 1 && parser.pieces.iter().any(spread) {
        return Err(parser.error(0, "a field with ... has to stand alone"));
    }
    Ok(parser.pieces)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    literal: String,
    pieces: Vec<Piece>,
}

impl<'t> Parser<'t> {
    fn step(&mut self) -> Result<bool, TemplateError> {
        let rest = &self.text[self.at..];
        let Some(brace) = rest.find(['{', '}']) else {
            self.literal.push_str(rest);
            return Ok(false);
        };
        self.literal.push_str(&rest[..brace]);
        self.at += brace;
        let rest = &rest[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            self.literal.push_str(&rest[..1]);
            self.at += 2;
        } else if rest.starts_with('}') {
            return Err(self.error(self.at, "a } without its {"));
        } else {
            self.field(&rest[1..])?;
        }
        Ok(true)
    }

    fn field(&mut self, rest: &'t str) -> Result<(), TemplateError> {
        let end = match rest.find(['{', '}']) {
            Some(end) if rest[end..].starts_with('}') => end,
            _ => return Err(self.error(self.at, "a { without its }")),
        };
        let field = self.read_field(&rest[..end], self.at + 1)?;
        self.end_literal();
        self.pieces.push(Piece::Field(field));
        self.at += end + 2;
        Ok(())
    }

    fn read_field(&self, inside: &str, at: usize) -> Result<Field, TemplateError> {
        let (path, default) = match inside.split_once('|') {
            Some((path, default)) => (path, Some(default.into())),
            None => (inside, None),
        };
        let (written, spread) =
            path.strip_suffix("...").map_or((path, false), |written| (written, true));
        let path = self.read_path(written, at)?;
        Ok(Field { written: written.into(), path, default, spread })
    }

    fn read_path(&self, written: &str, at: usize) -> Result<Vec<Box<str>>, TemplateError> {
        let mut path = Vec::new();
        let mut rest = written;
        loop {
            let here = at + written.len() - rest.len();
            let name_end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(name_end);
            self.check_name(name, here)?;
            path.push(name.into());
            rest = self.read_keys(after, here + name_end, &mut path)?;
            match rest.strip_prefix('.') {
                Some(next) => rest = next,
                None if rest.is_empty() => return Ok(path),
                None => {
                    let here = at + written.len() - rest.len();
                    return Err(self.error(here, "expected . or [ or the end of the field"));
                }
            }
        }
    }

    fn read_keys<'r>(
        &self,
        mut rest: &'r str,
        mut at: usize,
        path: &mut Vec<Box<str>>,
    ) -> Result<&'r str, TemplateError> {
        while let Some(inside) = rest.strip_prefix('[') {
            let (key, after) =
                inside.split_once(']').ok_or_else(|| self.error(at, "a [ without its ]"))?;
            if key.is_empty() {
                return Err(self.error(at, "an empty key"));
            }
            path.push(key.into());
            at += key.len() + 2;
            rest = after;
        }
        Ok(rest)
    }

    fn check_name(&self, name: &str, at: usize) -> Result<(), TemplateError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match name.chars().position(|c| !plain(c)) {
            Some(bad) => Err(self.error(at + bad, "a name has only letters, digits, _ and -")),
            None if name.is_empty() => Err(self.error(at, "expected the name of a field")),
            None => Ok(()),
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.pieces.push(Piece::Literal(literal.into()));
        }
    }

    fn error(&self, at: usize, problem: &'static str) -> TemplateError {
        TemplateError::Syntax { template: self.text.to_owned(), at, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_templates_are_refused_with_the_byte() {
        for (text, byte) in [
            ("", 0),
            ("a{", 1),
            ("a}b", 1),
            ("{}", 1),
            ("{a b}", 2),
            ("{a{b}}", 0),
            ("{a[}", 2),
            ("{a[]}", 2),
            ("{a[k]x}", 5),
            ("{a.}", 3),
            ("{a!r}", 2),
            ("{a:>5}", 2),
            ("x{a...}", 0),
        ] {
            let Err(TemplateError::Syntax { at, .. }) = pieces(text) else { panic!("{text}") };
            assert_eq!(at, byte, "{text}");
        }
    }

    #[test]
    fn no_text_of_few_characters_makes_it_panic() {
        let alphabet = ['{', '}', 'a', '.', '[', ']', '|', 'ä'];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts
                .iter()
                .flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}")))
                .collect();
            let parsed = texts.iter().filter(|text| pieces(text).is_ok()).count();
            assert!(parsed > 0 && parsed < texts.len());
        }
    }
}
