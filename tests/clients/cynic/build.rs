fn main() {
    let schema = cynic_codegen::register_schema("tollgate").from_sdl_file("../../../schema.graphql");
    schema.expect("the schema is one that cynic reads").as_default().expect("it is the only one");
}
