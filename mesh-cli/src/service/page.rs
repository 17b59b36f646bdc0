//! The page as HTML.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::Value;

/// What a part of the page is: its JSON, or the status that came instead.
pub(super) type Answer = Result<Value, StatusCode>;

pub(super) const TITLE: &str = "The Comedy of Errors";
pub(super) const DESCRIPTION: &str = "Two pairs of twins, parted in a shipwreck, meet in Ephesus without knowing it. One of William Shakespeare's early plays.";
pub(super) const NO_DETAILS: &str =
    "Sorry, product details are currently unavailable for this book.";
pub(super) const NO_REVIEWS: &str =
    "Sorry, product reviews are currently unavailable for this book.";
pub(super) const NO_RATINGS: &str =
    "Sorry, product ratings are currently unavailable for this book.";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}\
    header{display:flex;justify-content:space-between;align-items:baseline;border-bottom:1px solid #ccc}\
    dl{display:grid;grid-template-columns:8rem 1fr;gap:.2rem}dt{color:#666}dd{margin:0}\
    blockquote{margin:1rem 0;padding-left:1rem;border-left:3px solid #ccc}footer,.error{color:#a33}\
    .stars{font-size:1.3rem}small{color:#666}";

/// What details are called on the page, in their order.
const DETAILS: [(&str, &str); 9] = [
    ("author", "Author"),
    ("year", "Year"),
    ("type", "Type"),
    ("pages", "Pages"),
    ("publisher", "Publisher"),
    ("language", "Language"),
    ("ISBN-10", "ISBN-10"),
    ("ISBN-13", "ISBN-13"),
    ("stock", "In stock"),
];

pub(super) fn html(user: Option<&str>, details: &Answer, reviews: &Answer) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Simple Bookstore App</title>\
         <style>{STYLE}</style></head>\n<body>\n<header><h1>{TITLE}</h1>{}</header>\n<p>{DESCRIPTION}</p>\n",
        log_in(user)
    );
    push_details(&mut page, details);
    push_reviews(&mut page, reviews);
    page.push_str("</body>\n</html>\n");
    page
}

fn log_in(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("<span>{} <a href=\"/logout\">log out</a></span>", escaped(user)),
        None => "<form method=\"post\" action=\"/login\"><input name=\"username\" placeholder=\"user name, such as jason\" \
             required> <button>Sign in</button></form>"
            .to_owned(),
    }
}

// Writing to a String cannot fail; `let _` says so without a panic.

fn push_details(page: &mut String, details: &Answer) {
    page.push_str("<h2>Book Details</h2>\n");
    let Ok(details) = details else {
        let _ = writeln!(
            page,
            "<p class=\"error\">Error fetching product details!<br>{NO_DETAILS}</p>"
        );
        return;
    };
    page.push_str("<dl>");
    for (key, name) in DETAILS {
        let value = match &details[key] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    page.push_str("</dl>\n");
    let _ = writeln!(
        page,
        "<small>Details served by: {}</small>",
        text(&details["podname"])
    );
}

fn push_reviews(page: &mut String, reviews: &Answer) {
    page.push_str("<h2>Book Reviews</h2>\n");
    let Ok(reviews) = reviews else {
        let _ = writeln!(
            page,
            "<p class=\"error\">Error fetching product reviews!<br>{NO_REVIEWS}</p>"
        );
        return;
    };
    for review in reviews["reviews"].as_array().into_iter().flatten() {
        let _ = writeln!(
            page,
            "<blockquote><p>{}</p><small>{}</small>{}</blockquote>",
            text(&review["text"]),
            text(&review["reviewer"]),
            rating(&review["rating"])
        );
    }
    let _ = writeln!(
        page,
        "<small>Reviews served by: {}</small>",
        text(&reviews["podname"])
    );
}

fn rating(rating: &Value) -> String {
    if let Some(error) = rating["error"].as_str() {
        return format!("<p class=\"error\"><i>{}</i></p>", escaped(error));
    }
    let Some(stars) = rating["stars"].as_u64() else {
        return String::new();
    };
    let stars = usize::try_from(stars.min(5)).unwrap_or(0);
    let color = text(&rating["color"]);
    format!(
        "<p class=\"stars\" style=\"color:{color}\" title=\"{stars} {color} stars\">{}{}</p>",
        "★".repeat(stars),
        "☆".repeat(5 - stars)
    )
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reviews(rating: Value) -> Answer {
        Ok(
            json!({"podname": "reviews-v3", "reviews": [{"reviewer": "A", "text": "<b>", "rating": rating}]}),
        )
    }

    #[test]
    fn stars_have_their_colour() {
        let page = html(
            None,
            &Ok(json!({"pages": 200})),
            &reviews(json!({"stars": 4, "color": "red"})),
        );
        assert!(
            page.contains("color:red") && page.contains("★★★★☆"),
            "{page}"
        );
        assert!(
            page.contains("&lt;b&gt;") && page.contains("<dd>200</dd>"),
            "{page}"
        );
        assert!(!html(None, &Ok(json!({})), &reviews(json!(null))).contains('★'));
    }

    #[test]
    fn what_is_missing_is_said() {
        let down = json!({"error": "Ratings service is currently unavailable"});
        let page = html(
            Some("jason"),
            &Err(StatusCode::SERVICE_UNAVAILABLE),
            &reviews(down),
        );
        assert!(
            page.contains("Ratings service is currently unavailable") && page.contains(NO_DETAILS),
            "{page}"
        );
        assert!(page.contains("jason") && page.contains("/logout"), "{page}");
        assert!(html(None, &Ok(json!({})), &Err(StatusCode::NOT_FOUND)).contains(NO_REVIEWS));
    }
}
