fn main() {
    let path = std::env::args().nth(1).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    if path.ends_with("pdf") {
        let doc = docling_pdf::convert_text_layer(&bytes, "x").unwrap();
        for n in doc.nodes.iter().take(60) { println!("{n:?}"); }
        let mut p = docling_pdf::textparse::PageTextParser::open(&bytes).unwrap();
        for c in p.text_page(0).cells.iter().take(60) { println!("{:.1} {:.1} {:.1} {:.1} h{:.1} {}", c.l,c.t,c.r,c.b,(c.b-c.t).abs(),c.text); }
        for o in docling_pdf::outline::extract_outline(&bytes).iter().take(20) { println!("{o:?}"); }
        println!("{:?}", docling_pdf::info::document_info(&bytes, None));
    } else {
        let s = docling::SourceDocument::from_bytes("x", docling::InputFormat::Docx, bytes);
        let c = docling::DocumentConverter::new().metadata_output(docling::MetadataOutput::Json);
        let r = c.convert(s).unwrap();
        for n in r.document.nodes.iter().take(60) { println!("{n:?}"); }
        println!("{:?}", r.document.metadata);
    }
}
