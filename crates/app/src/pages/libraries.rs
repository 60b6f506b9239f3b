//! Libraries: the list, one with its items, new, changed, deleted.

use axum::extract::{Path, State};
use chrono::Utc;
use http::StatusCode;
use mnemosyne_domain::ports::{
    ItemFilter, ItemOrder, LibraryFilter, LibraryOrder, LibraryUpdate, Throughput,
};
use mnemosyne_domain::{
    JobStatus, Library, LibraryType, LibraryUid, PageRequest, Principal, ProfileOverrides,
};
use mnemosyne_services::libraries::LibraryRequest;
use mnemosyne_services::{Format, ServiceError, ServiceResult, Services};

use super::rows::{
    KnownLibraries, count_jobs, failure_groups, item_row, library_ref, library_row, library_rows,
    running_jobs,
};
use super::shell::{
    Done, Fields, FormProblems, PageError, PageResult, Params, Visitor, form_problems, some_of, typed, value,
};
use super::typed::TypedForm;
use super::view::{
    Choice, Crumb, DeletePage, Field, ItemListQuery, ItemSort, LibrariesPage, LibraryEditPage, LibraryLive,
    LibraryNewPage, LibraryPage, LibraryRef, Pager, SamplePassage, Section, Upload, href,
};
use crate::csrf::CheckedForm;
use crate::state::{AppState, to_the_end};

/// Libraries on one page of the list.
const LIBRARIES_PER_PAGE: u32 = 24;
/// Items on one page of a library.
const ITEMS_PER_PAGE: u32 = 50;

/// The library that an address names.
pub(super) fn library_uid(text: &str) -> Result<LibraryUid, PageError> {
    LibraryUid::parse(text).ok_or_else(|| PageError::not_found("library"))
}

fn libraries_crumb() -> Crumb {
    Crumb::new("Libraries", "/libraries/")
}

/// The way up from a page about one library.
pub(super) fn crumbs_of(library: &LibraryRef) -> Vec<Crumb> {
    vec![
        libraries_crumb(),
        Crumb::new(library.name.as_str(), library.href()),
    ]
}

/// An order of the list of libraries.
struct LibrarySort {
    /// The value of `sort`, empty for the usual order.
    word: &'static str,
    label: &'static str,
    order: LibraryOrder,
}

/// The orders of the list, the usual one first.
const LIBRARY_SORTS: [LibrarySort; 4] = [
    LibrarySort {
        word: "",
        label: "Name",
        order: LibraryOrder::ByName,
    },
    LibrarySort {
        word: "newest",
        label: "Newest first",
        order: LibraryOrder::NewestFirst,
    },
    LibrarySort {
        word: "items",
        label: "Most items",
        order: LibraryOrder::MostItemsFirst,
    },
    LibrarySort {
        word: "passages",
        label: "Most passages",
        order: LibraryOrder::MostChunksFirst,
    },
];

/// The list.
pub(super) async fn list(State(state): State<AppState>, visitor: Visitor, params: Params) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let (name, kind) = (params.get("q"), LibraryType::parse(params.get("type")));
    let kind_word = kind.map(LibraryType::as_str).unwrap_or_default();
    let sort = LIBRARY_SORTS
        .iter()
        .find(|sort| sort.word == params.get("sort"))
        .unwrap_or(&LIBRARY_SORTS[0]);
    let filter = LibraryFilter {
        library_type: kind,
        name_contains: (!name.is_empty()).then(|| name.to_owned()),
        order: sort.order,
        ..LibraryFilter::default()
    };
    let mut page = PageRequest::first(LIBRARIES_PER_PAGE);
    let number = params.page();
    page.offset = (number - 1) * u64::from(LIBRARIES_PER_PAGE);
    let mut found = services.libraries(caller, filter.clone(), page).await?;
    let others = [("q", name), ("type", kind_word), ("sort", sort.word)];
    let pager = Pager::new(
        found.total,
        number,
        u64::from(LIBRARIES_PER_PAGE),
        "/libraries/",
        &others,
    );
    if pager.page != number {
        page.offset = pager.offset();
        found = services.libraries(caller, filter, page).await?;
    }
    let is_narrowed = !name.is_empty() || kind.is_some();
    let is_empty = found.total == 0
        && (!is_narrowed
            || services
                .libraries(caller, LibraryFilter::default(), PageRequest::first(1))
                .await?
                .total
                == 0);
    let page = LibrariesPage {
        frame: visitor.frame(&state, "Libraries", Section::Libraries).await,
        libraries: library_rows(services, caller, &found.rows).await?,
        filter: name.to_owned(),
        kind: kind_word.to_owned(),
        sort: sort.word.to_owned(),
        types: type_choices("/libraries/", kind, &[("q", name), ("sort", sort.word)]),
        sorts: LIBRARY_SORTS
            .iter()
            .map(|choice| Choice {
                label: choice.label.to_owned(),
                href: href(
                    "/libraries/",
                    &[("q", name), ("type", kind_word), ("sort", choice.word)],
                ),
                count: None,
                is_chosen: choice.word == sort.word,
                kind: None,
            })
            .collect(),
        pager,
        is_empty,
        demo_available: is_empty,
    };
    visitor.page(StatusCode::OK, &page)
}

/// All types to choose from, *all* first; each link keeps the other parameters.
pub(super) fn type_choices(path: &str, chosen: Option<LibraryType>, others: &[(&str, &str)]) -> Vec<Choice> {
    let address = |kind: &str| {
        let mut pairs = others.to_vec();
        pairs.push(("type", kind));
        href(path, &pairs)
    };
    let all = Choice {
        label: "All types".to_owned(),
        href: address(""),
        count: None,
        is_chosen: chosen.is_none(),
        kind: None,
    };
    let each = LibraryType::ALL.map(|kind| Choice {
        label: kind.profile().title.clone(),
        href: address(kind.as_str()),
        count: None,
        is_chosen: chosen == Some(kind),
        kind: Some(kind),
    });
    std::iter::once(all).chain(each).collect()
}

/// The form for a new library.
pub(super) async fn show_new(State(state): State<AppState>, visitor: Visitor) -> PageResult {
    render_new(
        &state,
        &visitor,
        StatusCode::OK,
        &Fields::new(),
        &FormProblems::new(),
    )
    .await
}

async fn render_new(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    fields: &Fields,
    problems: &FormProblems,
) -> PageResult {
    let mut frame = visitor.frame(state, "New library", Section::Libraries).await;
    frame.crumbs = vec![libraries_crumb()];
    let field = |name: &str| typed(name, value(fields, name), problems);
    let page = LibraryNewPage {
        frame,
        name: field("name"),
        library_type: field("library_type"),
        description: field("description"),
    };
    visitor.page(status, &page)
}

/// The form for a new library as it was sent, where nothing was done with it yet.
pub(super) async fn show_new_again(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    fields: &Fields,
) -> PageResult {
    render_new(state, visitor, status, fields, &FormProblems::new()).await
}

/// Makes a library.
pub(super) async fn create(State(state): State<AppState>, form: TypedForm) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    if !is_valid {
        return show_new_again(&state, &visitor, StatusCode::FORBIDDEN, &fields).await;
    }
    let request = LibraryRequest {
        name: value(&fields, "name").to_owned(),
        library_type: value(&fields, "library_type").to_owned(),
        description: value(&fields, "description").to_owned(),
    };
    let made = if request.library_type.is_empty() {
        // One more sentence for a person: the use case names what it got, and here it got nothing.
        let mut problems =
            FormProblems::from([("library_type".to_owned(), vec!["Choose a type.".to_owned()])]);
        if request.name.trim().is_empty() {
            problems.insert("name".to_owned(), vec!["This field is required.".to_owned()]);
        }
        Err(ServiceError::Invalid(problems))
    } else {
        state.services().create_library(&visitor.principal, request).await
    };
    match made {
        Ok(library) => Ok(visitor.done(Done::LibraryMade, &library_ref(&library).href())),
        Err(error) => {
            let problems = form_problems(error)?;
            render_new(
                &state,
                &visitor,
                StatusCode::UNPROCESSABLE_ENTITY,
                &fields,
                &problems,
            )
            .await
        }
    }
}

/// One library with its items.
pub(super) async fn show(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    params: Params,
) -> PageResult {
    let library = state
        .services()
        .library(&visitor.principal, &library_uid(&uid)?)
        .await?;
    render(&state, &visitor, &library, &params, StatusCode::OK, None).await
}

/// The page of one library; `problem` is what was wrong with an upload.
pub(super) async fn render(
    state: &AppState,
    visitor: &Visitor,
    library: &Library,
    params: &Params,
    status: StatusCode,
    problem: Option<String>,
) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let query = ItemListQuery::parse(params.get("q"), params.get("sort"));
    let reference = library_ref(library);
    let filter = ItemFilter {
        library_uid: Some(library.uid.clone()),
        title_contains: (!query.filter.is_empty()).then(|| query.filter.clone()),
        order: order(&query),
        ..ItemFilter::default()
    };
    let number = params.page();
    let per_page = u64::from(ITEMS_PER_PAGE);
    let mut found = services
        .items(
            caller,
            filter.clone(),
            PageRequest::new((number - 1) * per_page, ITEMS_PER_PAGE),
        )
        .await?;
    let pager = query.pager(found.total, number, per_page, &reference.href());
    if pager.page != number {
        found = services
            .items(caller, filter, PageRequest::new(pager.offset(), ITEMS_PER_PAGE))
            .await?;
    }
    let throughput = services.throughput(caller).await?;
    let sample = match found.rows.first() {
        Some(item) => sample(services, caller, item).await?,
        None => None,
    };
    let mut frame = visitor
        .frame(state, library.name.as_str(), Section::Libraries)
        .await;
    frame.crumbs = vec![libraries_crumb()];
    let page = LibraryPage {
        live: live(services, caller, library, &frame.csrf, &throughput).await?,
        frame,
        row: library_row(services, caller, library).await?,
        profile: library.profile(),
        items: found.rows.iter().map(|item| item_row(item, None)).collect(),
        query,
        pager,
        upload: Some(upload(state, visitor, problem)),
        sample,
    };
    visitor.page(status, &page)
}

fn order(query: &ItemListQuery) -> ItemOrder {
    match (query.sort, query.descending) {
        (ItemSort::Added, true) => ItemOrder::NewestFirst,
        (ItemSort::Added, false) => ItemOrder::OldestFirst,
        (ItemSort::Title, false) => ItemOrder::TitleAscending,
        (ItemSort::Title, true) => ItemOrder::TitleDescending,
        (ItemSort::Passages, false) => ItemOrder::FewestChunksFirst,
        (ItemSort::Passages, true) => ItemOrder::MostChunksFirst,
        (ItemSort::Size, false) => ItemOrder::SmallestFirst,
        (ItemSort::Size, true) => ItemOrder::LargestFirst,
    }
}

/// A chunk from a third into an item: behind title pages, before indexes.
async fn sample(
    services: &Services,
    caller: &Principal,
    item: &mnemosyne_domain::Item,
) -> ServiceResult<Option<SamplePassage>> {
    let page = PageRequest::new(item.chunk_count / 3, 1);
    let chunk = match services.chunks(caller, &item.uid, page).await {
        Ok(found) => found.rows.into_iter().next(),
        // Deleted between the two questions.
        Err(ServiceError::NotFound(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(chunk.map(|chunk| SamplePassage {
        href: format!("/items/{}/?chunk={}#c-{}", item.uid, chunk.uid, chunk.uid),
        item_title: chunk.item_title,
        heading_path: chunk.heading_path,
        text: chunk.text,
    }))
}

fn upload(state: &AppState, visitor: &Visitor, problem: Option<String>) -> Upload {
    let formats = [
        Format::Pdf,
        Format::Docx,
        Format::Epub,
        Format::Html,
        Format::Markdown,
        Format::Text,
    ];
    let extensions = formats.iter().flat_map(|format| format.extensions());
    Upload {
        accept: extensions
            .map(|extension| format!(".{extension}"))
            .collect::<Vec<_>>()
            .join(","),
        formats: formats.map(Format::title).join(", "),
        max_bytes: state.services().settings().ingest.max_file_bytes,
        origin: visitor.info.origin(),
        username: visitor.username().to_owned(),
        problem,
    }
}

/// What is being ingested into a library.
pub(super) async fn live(
    services: &Services,
    caller: &Principal,
    library: &Library,
    csrf: &str,
    throughput: &Throughput,
) -> ServiceResult<LibraryLive> {
    let mut known = KnownLibraries::new(services, caller);
    let uid = Some(&library.uid);
    let (running, _) = running_jobs(&mut known, uid, Utc::now()).await?;
    Ok(LibraryLive {
        library: library_ref(library),
        csrf: csrf.to_owned(),
        running,
        waiting: count_jobs(services, caller, uid, JobStatus::Pending, throughput).await?,
        failures: failure_groups(services, caller, uid, throughput).await?,
        items: library.item_count,
        passages: library.chunk_count,
    })
}

/// The numbers of a profile that a form can change.
const SIZES: [&str; 3] = ["target_chars", "max_chars", "overlap_chars"];
/// The texts of a profile that a form can change.
const INSTRUCTIONS: [&str; 4] = [
    "embedding_instruction",
    "rerank_instruction",
    "llm_context",
    "vision_prompt",
];

/// The form for a library's name, description and overrides.
pub(super) async fn show_edit(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let library = state
        .services()
        .library(&visitor.principal, &library_uid(&uid)?)
        .await?;
    let own = &library.overrides;
    let size = |size: Option<usize>| size.map(|size| size.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let fields: Fields = [
        ("name", library.name.clone()),
        ("description", library.description.clone()),
        ("target_chars", size(own.target_chars)),
        ("max_chars", size(own.max_chars)),
        ("overlap_chars", size(own.overlap_chars)),
        ("embedding_instruction", text(&own.embedding_instruction)),
        ("rerank_instruction", text(&own.rerank_instruction)),
        ("llm_context", text(&own.llm_context)),
        ("vision_prompt", text(&own.vision_prompt)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    render_edit(
        &state,
        &visitor,
        &library,
        StatusCode::OK,
        &fields,
        &FormProblems::new(),
    )
    .await
}

async fn render_edit(
    state: &AppState,
    visitor: &Visitor,
    library: &Library,
    status: StatusCode,
    fields: &Fields,
    problems: &FormProblems,
) -> PageResult {
    let reference = library_ref(library);
    let mut frame = visitor
        .frame(state, format!("Edit {}", library.name), Section::Libraries)
        .await;
    frame.crumbs = crumbs_of(&reference);
    let field = |name: &str| -> Field { typed(name, value(fields, name), problems) };
    let page = LibraryEditPage {
        frame,
        name: field("name"),
        description: field("description"),
        sizes: LibraryEditPage::sizes(library.library_type, SIZES.map(field)),
        instructions: LibraryEditPage::instructions(library.library_type, INSTRUCTIONS.map(field)),
        items: library.item_count,
        library: reference,
    };
    visitor.page(status, &page)
}

/// The form for a library as it was sent, where nothing was done with it yet.
pub(super) async fn show_edit_again(
    state: &AppState,
    visitor: &Visitor,
    status: StatusCode,
    uid: &str,
    fields: &Fields,
) -> PageResult {
    let library = state
        .services()
        .library(&visitor.principal, &library_uid(uid)?)
        .await?;
    render_edit(state, visitor, &library, status, fields, &FormProblems::new()).await
}

/// Changes a library. What already has passages keeps them.
pub(super) async fn change(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    form: TypedForm,
) -> PageResult {
    let TypedForm {
        visitor,
        fields,
        is_valid,
    } = form;
    if !is_valid {
        return show_edit_again(&state, &visitor, StatusCode::FORBIDDEN, &uid, &fields).await;
    }
    let services = state.services();
    let library = services.library(&visitor.principal, &library_uid(&uid)?).await?;
    let outcome = match overrides(&fields) {
        Ok(overrides) => {
            let update = LibraryUpdate {
                name: Some(value(&fields, "name").to_owned()),
                description: Some(value(&fields, "description").to_owned()),
                overrides: Some(overrides),
            };
            services
                .update_library(&visitor.principal, &library.uid, update)
                .await
        }
        Err(problems) => Err(ServiceError::Invalid(problems)),
    };
    match outcome {
        Ok(_) => Ok(visitor.done(Done::LibraryChanged, &library_ref(&library).href())),
        Err(error) => {
            let problems = form_problems(error)?;
            render_edit(
                &state,
                &visitor,
                &library,
                StatusCode::UNPROCESSABLE_ENTITY,
                &fields,
                &problems,
            )
            .await
        }
    }
}

/// The overrides of a form; empty fields keep what the type brings.
fn overrides(fields: &Fields) -> Result<ProfileOverrides, FormProblems> {
    let mut problems = FormProblems::new();
    let [target_chars, max_chars, overlap_chars] = SIZES.map(|name| {
        let text = value(fields, name).trim();
        if text.is_empty() {
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            problems.insert(
                name.to_owned(),
                vec!["Write a whole number, or nothing.".to_owned()],
            );
        }
        number
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let [
        embedding_instruction,
        rerank_instruction,
        llm_context,
        vision_prompt,
    ] = INSTRUCTIONS.map(|name| {
        let text = value(fields, name).trim();
        (!text.is_empty()).then(|| text.to_owned())
    });
    Ok(ProfileOverrides {
        target_chars,
        max_chars,
        overlap_chars,
        embedding_instruction,
        rerank_instruction,
        llm_context,
        vision_prompt,
    })
}

/// Asks before a library goes.
pub(super) async fn confirm_deletion(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
) -> PageResult {
    let services = state.services();
    let caller = &visitor.principal;
    let library = services.library(caller, &library_uid(&uid)?).await?;
    let throughput = services.throughput(caller).await?;
    let mut open = 0;
    for status in [JobStatus::Pending, JobStatus::Processing] {
        open += count_jobs(services, caller, Some(&library.uid), status, &throughput).await?;
    }
    let reference = library_ref(&library);
    let mut frame = visitor
        .frame(&state, format!("Delete “{}”?", library.name), Section::Libraries)
        .await;
    frame.crumbs = crumbs_of(&reference);
    let what_goes = [
        Some(format!("the library “{}”", library.name)),
        some_of(
            library.item_count,
            "item and its original",
            "items and their originals",
        ),
        some_of(library.chunk_count, "passage", "passages"),
        some_of(
            open,
            "file that waits or is being read",
            "files that wait or are being read",
        ),
    ];
    let mut remarks = vec!["Concepts that nothing else mentions go with it.".to_owned()];
    if let Some(workspace) = &library.workspace_id {
        remarks.push(format!(
            "It is the library of the workspace “{workspace}”; its client loses it."
        ));
    }
    let page = DeletePage {
        frame,
        what_goes: what_goes.into_iter().flatten().collect(),
        remarks,
        button: "Delete the library".to_owned(),
        back: reference.href(),
    };
    visitor.page(StatusCode::OK, &page)
}

/// Deletes a library.
pub(super) async fn delete(
    State(state): State<AppState>,
    visitor: Visitor,
    Path(uid): Path<String>,
    CheckedForm(_): CheckedForm<Fields>,
) -> PageResult {
    let services = state.services();
    let library = services.library(&visitor.principal, &library_uid(&uid)?).await?;
    let (caller, uid) = (visitor.principal.clone(), library.uid);
    to_the_end(&state, |services| async move {
        services.delete_library(&caller, &uid).await
    })
    .await?;
    Ok(visitor.done(Done::LibraryDeleted(library.item_count), "/libraries/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn empty_overrides_keep_the_types_own() {
        let read = overrides(&form(&[
            ("target_chars", " 700 "),
            ("max_chars", ""),
            ("llm_context", "  "),
        ]));
        let expected = ProfileOverrides {
            target_chars: Some(700),
            ..ProfileOverrides::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn every_number_that_is_none_is_named() {
        let read = overrides(&form(&[
            ("target_chars", "x"),
            ("max_chars", "-1"),
            ("overlap_chars", "1"),
        ]));
        let problems = read.unwrap_err();
        assert_eq!(
            problems.keys().map(String::as_str).collect::<Vec<_>>(),
            ["max_chars", "target_chars"]
        );
    }

    #[test]
    fn every_sort_of_the_list_is_an_order_of_its_own() {
        let words = [
            "",
            "added",
            "title",
            "-title",
            "passages",
            "-passages",
            "size",
            "-size",
        ];
        let mut seen = Vec::new();
        for word in words {
            let order = order(&ItemListQuery::parse("", word));
            assert!(!seen.contains(&order), "{word}");
            seen.push(order);
        }
    }

    #[test]
    fn choices_keep_the_rest_of_the_address() {
        let choices = type_choices("/libraries/", Some(LibraryType::Music), &[("q", "a b")]);
        assert_eq!(
            (choices[0].href.as_str(), choices[0].is_chosen),
            ("/libraries/?q=a%20b", false)
        );
        let music = choices.iter().find(|choice| choice.is_chosen).unwrap();
        assert_eq!(music.href, "/libraries/?q=a%20b&type=music");
    }
}
