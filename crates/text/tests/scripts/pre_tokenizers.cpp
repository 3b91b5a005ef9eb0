// Writes tests/data/pre_tokenizers.json and gemma4.json: the ids that llama.cpp gives tests/data/pre_tokenizers.txt under
// the name of every pre-tokenizer that it knows. make_pre_tokenizer_vocabulary.py writes the vocabularies.
//
//   g++ -std=c++17 -O1 -I llama.cpp/include -I llama.cpp/ggml/include pre_tokenizers.cpp -L... -lllama -lggml ... -o pre
//   ./pre pairs.gguf pre_tokenizers.txt NAME... > pre_tokenizers.json
//   ./pre gemma4.gguf pre_tokenizers.txt gemma4 > gemma4.json

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

int main(int argc, char ** argv) {
    if (argc < 4) return 2;
    std::ifstream file(argv[2], std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    std::vector<std::pair<std::string, std::string>> rows; // ids, and the names that give them
    for (int i = 3; i < argc; i++) {
        llama_model_kv_override overrides[2] = {};
        strcpy(overrides[0].key, "tokenizer.ggml.pre");
        overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
        strcpy(overrides[0].val_str, argv[i]);
        llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        params.kv_overrides = overrides;
        llama_model * model = llama_model_load_from_file(argv[1], params);
        if (!model) {
            fprintf(stderr, "%s: not loaded\n", argv[i]);
            return 1;
        }
        std::vector<llama_token> ids(text.size() + 8);
        const int count = llama_tokenize(llama_model_get_vocab(model), text.data(), (int) text.size(), ids.data(),
                                         (int) ids.size(), false, false);
        std::string list;
        for (int at = 0; at < count; at++) list += (at ? "," : "") + std::to_string(ids[at]);
        const std::string name = std::string("\"") + argv[i] + "\"";
        const auto same = [&](const std::pair<std::string, std::string> & row) { return row.first == list; };
        const auto row = std::find_if(rows.begin(), rows.end(), same);
        if (row == rows.end()) rows.emplace_back(list, name);
        else row->second += ", " + name;
        llama_model_free(model);
    }
    for (size_t i = 0; i < rows.size(); i++) {
        printf("%s{\"names\": [%s],\n\"ids\": [%s]}", i ? ",\n" : "[", rows[i].second.c_str(), rows[i].first.c_str());
    }
    printf("]\n");
}
