// Calls the function of the npm package `libretranslate`: `node calls.cjs URL KEY`.
const { translate } = require("libretranslate");

const [apiurl, apiKey] = process.argv.slice(2);

async function check(name, options, expected) {
  try {
    const found = await translate({ apiurl, apiKey, ...options });
    console.log(found === expected ? `passed ${name}` : `failed ${name}: ${JSON.stringify(found)}`);
  } catch (error) {
    console.log(`failed ${name}: ${error}`);
  }
}

(async () => {
  await check("translate", { query: "proton beam", source: "en", target: "de" }, "Protonenstrahl");
  await check("translate, detected", { query: "Here is a sentence.", target: "de" }, "Hier ist ein Satz.");
  await check("translate, html", { query: "<p>proton beam</p>", source: "en", target: "de", format: "html" },
    "<p>Protonenstrahl</p>");
})();
