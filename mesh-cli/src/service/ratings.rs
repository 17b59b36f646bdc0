//! ratings: how many stars each reviewer gives.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::json;

pub(super) fn router() -> Router {
    Router::new().route("/ratings/{id}", get(ratings))
}

async fn ratings(Path(id): Path<String>) -> Response {
    match id.parse::<u32>() {
        Ok(id) => json(
            StatusCode::OK,
            json!({"id": id, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}),
        ),
        Err(_) => json(
            StatusCode::BAD_REQUEST,
            json!({"error": "please provide numeric product ID"}),
        ),
    }
}
