//! productpage: what users see. Asks details and reviews, and knows who is logged in.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{COOKIE, REFERER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use proxyless::Mesh;
use serde::Deserialize;
use serde_json::{Value, json};

use super::calls::{Calls, END_USER};
use super::json;
use super::page::{self, Answer};

/// How long a page waits for each of its parts.
const PATIENCE: Duration = Duration::from_secs(3);
const COOKIE_NAME: &str = "user=";

pub(super) fn router(mesh: &Mesh) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/productpage")))
        .route("/productpage", get(productpage))
        .route("/login", post(login))
        .route("/logout", get(logout))
        .route("/api/v1/products", get(async || Json(json!([product()]))))
        .route("/api/v1/products/{id}", get(api_details))
        .route("/api/v1/products/{id}/reviews", get(api_reviews))
        .route("/api/v1/products/{id}/ratings", get(api_ratings))
        .with_state(Arc::new(Calls::new(mesh)))
}

fn product() -> Value {
    json!({"id": 0, "title": page::TITLE, "descriptionHtml": page::DESCRIPTION})
}

async fn productpage(State(calls): State<Arc<Calls>>, headers: HeaderMap) -> Html<String> {
    let user = user(&headers);
    let headers = as_user(user.as_deref());
    let (details, reviews) = tokio::join!(
        details(&calls, "0", &headers),
        reviews(&calls, "0", &headers)
    );
    Html(page::html(user.as_deref(), &details, &reviews))
}

async fn details(calls: &Calls, id: &str, headers: &HeaderMap) -> Answer {
    calls
        .get(
            &format!("http://details:9080/details/{id}"),
            headers,
            PATIENCE,
        )
        .await
}

async fn reviews(calls: &Calls, id: &str, headers: &HeaderMap) -> Answer {
    calls
        .get(
            &format!("http://reviews:9080/reviews/{id}"),
            headers,
            PATIENCE,
        )
        .await
}

async fn api_details(
    calls: State<Arc<Calls>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Response {
    let headers = as_user(user(&headers).as_deref());
    api(
        details(&calls, &id.to_string(), &headers).await,
        page::NO_DETAILS,
    )
}

async fn api_reviews(
    calls: State<Arc<Calls>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Response {
    let headers = as_user(user(&headers).as_deref());
    api(
        reviews(&calls, &id.to_string(), &headers).await,
        page::NO_REVIEWS,
    )
}

async fn api_ratings(
    calls: State<Arc<Calls>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
) -> Response {
    let headers = as_user(user(&headers).as_deref());
    let answer = calls
        .get(
            &format!("http://ratings:9080/ratings/{id}"),
            &headers,
            PATIENCE,
        )
        .await;
    api(answer, page::NO_RATINGS)
}

fn api(answer: Answer, sorry: &str) -> Response {
    match answer {
        Ok(value) => json(StatusCode::OK, value),
        Err(status) => json(status, json!({"error": sorry})),
    }
}

#[derive(Deserialize)]
struct Login {
    username: String,
}

async fn login(headers: HeaderMap, Form(login): Form<Login>) -> Response {
    let Some(name) = user_name(&login.username) else {
        return json(
            StatusCode::BAD_REQUEST,
            json!({"error": "a user name has letters, digits, '.', '-' and '_'"}),
        );
    };
    back(
        &headers,
        &format!("{COOKIE_NAME}{name}; Path=/; HttpOnly; SameSite=Lax"),
    )
}

async fn logout(headers: HeaderMap) -> Response {
    back(&headers, &format!("{COOKIE_NAME}; Path=/; Max-Age=0"))
}

/// Back to where the user came from, with a cookie.
fn back(headers: &HeaderMap, cookie: &str) -> Response {
    let from = headers
        .get(REFERER)
        .and_then(|value| value.to_str().ok())
        .and_then(|uri| uri.parse::<http::Uri>().ok());
    // only the path: a form elsewhere must not make this page lead back there
    let path = from.as_ref().map_or("/productpage", |uri| uri.path());
    let mut response = Redirect::to(path).into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Who is logged in: the cookie's user, else the one whom the caller names.
fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).map(str::trim);
    let from_cookie = pairs.find_map(|pair| user_name(pair.strip_prefix(COOKIE_NAME)?));
    from_cookie.or_else(|| user_name(headers.get(END_USER)?.to_str().ok()?))
}

fn user_name(text: &str) -> Option<String> {
    let text = text.trim();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!text.is_empty() && text.len() <= 64 && text.chars().all(fine)).then(|| text.to_owned())
}

/// The headers that calls for this user carry.
fn as_user(user: Option<&str>) -> HeaderMap {
    let value = user.and_then(|user| HeaderValue::from_str(user).ok());
    value.into_iter().map(|value| (END_USER, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_comes_from_the_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!(user(&headers), None);
        headers.insert(END_USER, HeaderValue::from_static("ada"));
        assert_eq!(user(&headers).as_deref(), Some("ada"));
        headers.insert(COOKIE, HeaderValue::from_static("a=b; user=jason"));
        assert_eq!(user(&headers).as_deref(), Some("jason"));
        assert_eq!(as_user(Some("jason"))[END_USER], "jason");
        headers.insert(COOKIE, HeaderValue::from_static("user="));
        assert_eq!(user(&headers).as_deref(), Some("ada"));
    }

    #[test]
    fn user_names_cannot_break_a_header_or_a_cookie() {
        for wrong in ["", "a;b", "a b", "a\r\nb", "<b>"] {
            assert_eq!(user_name(wrong), None, "{wrong:?}");
        }
    }
}
