//! The dashboard.

use axum::extract::State;
use axum::response::Redirect;
use chrono::Utc;
use http::StatusCode;
use mnemosyne_domain::ports::{ItemFilter, LibraryFilter};
use mnemosyne_domain::{JobStatus, ModelKind, PageRequest};

use super::rows::{
    KnownLibraries, count_jobs, demo_questions, failure_groups, item_row, library_rows, running_jobs,
};
use super::shell::{Done, Fields, PageResult, Visitor};
use super::view::{FirstSteps, HomePage, ModelLabel, Section, Totals};
use crate::csrf::CheckedForm;
use crate::state::AppState;

/// Libraries on the dashboard.
const LIBRARIES_SHOWN: u32 = 8;
/// Items on the dashboard.
const ITEMS_SHOWN: u32 = 8;
/// Running jobs on the dashboard.
const JOBS_SHOWN: usize = 6;

/// The page.
pub(super) async fn show(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let throughput = services.throughput(caller).await?;
    let held = services.library_totals(caller, LibraryFilter::default()).await?;
    let totals = Totals {
        libraries: held.libraries,
        items: held.items,
        passages: held.chunks,
    };
    let shown = services
        .libraries(
            caller,
            LibraryFilter::default(),
            PageRequest::first(LIBRARIES_SHOWN),
        )
        .await?
        .rows;
    let libraries = library_rows(services, caller, &shown).await?;
    let mut known = KnownLibraries::new(services, caller);
    let mut recent = Vec::new();
    for item in services
        .items(caller, ItemFilter::default(), PageRequest::first(ITEMS_SHOWN))
        .await?
        .rows
    {
        let library = known.get(&item.library_uid).await?;
        recent.push(item_row(&item, library));
    }
    let (mut running, running_count) = running_jobs(&mut known, None, Utc::now()).await?;
    running.truncate(JOBS_SHOWN);
    let waiting = count_jobs(services, caller, None, JobStatus::Pending, &throughput).await?;
    let first_steps = (totals.items == 0).then(|| FirstSteps {
        upload_href: libraries.first().map(|row| format!("{}#add", row.library.href())),
        demo_available: totals.libraries == 0,
        is_ingesting: running_count + waiting > 0,
    });
    let model = services.models().await?.into_iter().next();
    let page = HomePage {
        frame: visitor.frame(&state, "Home", Section::Home).await,
        totals,
        libraries,
        recent,
        running,
        waiting,
        failures: failure_groups(services, caller, None, &throughput).await?,
        model: model.map_or_else(
            || ModelLabel {
                name: "none".to_owned(),
                kind: ModelKind::Lexical,
            },
            |model| ModelLabel {
                name: model.id,
                kind: model.kind,
            },
        ),
        first_steps,
        questions: demo_questions(services, caller).await?,
    };
    visitor.page(StatusCode::OK, &page)
}

/// Where somebody lands who asks to read an address that only takes forms.
pub(super) async fn back() -> Redirect {
    Redirect::to("/")
}

/// Puts the demo library on its way.
pub(super) async fn load_demo(
    State(state): State<AppState>,
    visitor: Visitor,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let documents = state.services().load_demo(&visitor.principal).await?;
    Ok(visitor.done(Done::DemoLoaded(documents as u64), "/libraries/"))
}
