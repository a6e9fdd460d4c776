// Calls every function of the npm package `libretranslate-ts`: `node calls.cjs URL KEY`.
const { libreTranslate } = require("libretranslate-ts");

const [url, key] = process.argv.slice(2);
libreTranslate.setApiEndpoint(url);
if (key) libreTranslate.setApiKey(key);

async function check(name, call, isExpected) {
  try {
    const found = await call();
    console.log(isExpected(found) ? `passed ${name}` : `failed ${name}: ${JSON.stringify(found)}`);
  } catch (error) {
    console.log(`failed ${name}: ${error}`);
  }
}

(async () => {
  await check("translate", () => libreTranslate.translate("proton beam", "en", "de"),
    (found) => found.status === 200 && found.translatedText === "Protonenstrahl");
  await check("translate, alternatives", () => libreTranslate.translate("proton beam", "en", "de", 2),
    (found) => found.status === 200 && found.alternatives.length > 0);
  await check("translate, error", () => libreTranslate.translate("proton beam", "en", "zz"),
    (found) => found.error === "zz is not supported");
  await check("detect", () => libreTranslate.detect("This is an example sentence."),
    (found) => found.status === 200 && found.language === "en");
  await check("listLanguages", () => libreTranslate.listLanguages(),
    (found) => found.some((language) => language.code === "en" && language.targets.includes("de")));
})();
