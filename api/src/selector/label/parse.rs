//! The text form of label selectors, token by token.

use super::{Operator, Requirement, SelectorError, for_key, sorted};
use crate::validation::{FieldErrors, Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Fault,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

/// Reads the text form of a selector, with the lookahead and the words of upstream's parser.
pub(super) struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn symbol(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "(" => Token::Open,
        _ => return None,
    })
}

/// The longest symbol at the start of `text` and its length.
fn leading_symbol(text: &str) -> (Token, usize) {
    let two = text.get(..2).and_then(symbol).map(|token| (token, 2));
    two.or_else(|| text.get(..1).and_then(symbol).map(|token| (token, 1)))
        .unwrap_or((Token::Fault, 1))
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = if is_symbol(first) {
            leading_symbol(rest)
        } else {
            let end = rest
                .find(|c| is_symbol(c) || matches!(c, ' ' | '\t' | '\r' | '\n'))
                .unwrap_or(rest.len());
            let token = match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            (token, end)
        };
        tokens.push((token, rest[..length].to_owned()));
        rest = &rest[length..];
    }
    tokens.push((Token::End, String::new()));
    tokens
}

fn fault<T>(message: String) -> Result<T, SelectorError> {
    Err(SelectorError(message))
}

impl Parser {
    pub(super) fn new(text: &str) -> Self {
        Self {
            tokens: scan(text),
            at: 0,
        }
    }

    /// The next token where a value may stand: `in` and `notin` are plain words there.
    fn peek(&self) -> (Token, &str) {
        let (token, text) = self
            .tokens
            .get(self.at)
            .map_or((Token::End, ""), |(token, text)| (*token, text.as_str()));
        match token {
            Token::In | Token::NotIn => (Token::Identifier, text),
            other => (other, text),
        }
    }

    fn next(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let taken = (token, text.to_owned());
        self.at += 1;
        taken
    }

    /// Every requirement of the text.
    pub(super) fn requirements(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let one = self.requirement();
                    requirements
                        .push(one.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    match self.next() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => match self.peek() {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, found) => {
                                return fault(format!("found '{found}', expected: identifier after ','"));
                            }
                        },
                        (_, found) => {
                            return fault(format!("found '{found}', expected: ',' or 'end of string'"));
                        }
                    }
                }
                (Token::End, _) => return Ok(requirements),
                (_, found) => {
                    return fault(format!(
                        "found '{found}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return fault(format!("found '{key}', expected: identifier"));
        }
        let mut errors = FieldErrors::new();
        for_key(&mut errors, &Path::ROOT, &key);
        if !errors.is_empty() {
            return fault(errors.aggregate());
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, sorted(values))
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let (token, text) = self
            .tokens
            .get(self.at)
            .cloned()
            .unwrap_or((Token::End, String::new()));
        self.at += 1;
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return fault(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Identifier, text) => Ok(text),
            (_, found) => fault(format!("found '{found}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            (Token::Open, _) => {}
            (_, found) => return fault(format!("found '{found}' expected: '('")),
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.identifiers()?;
                self.at += 1;
                Ok(values)
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(vec![String::new()])
            }
            (_, found) => fault(format!("found '{found}', expected: ',', ')' or identifier")),
        }
    }

    /// Words between commas up to a closing parenthesis, which is left; nothing between two commas is the empty word.
    fn identifiers(&mut self) -> Result<Vec<String>, SelectorError> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    values.push(text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, found) => return fault(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                (_, found) => return fault(format!("found '{found}', expected: ',', or identifier")),
            }
        }
    }
}
